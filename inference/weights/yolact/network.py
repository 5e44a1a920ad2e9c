"""YOLACT as PyTorch modules (Bolya et al. 2019, arXiv 1904.02689), for import and training; never for serving.

The names of the modules are those of the published checkpoints (https://github.com/dbolya/yolact), so that their
`state_dict` loads as it is. Only what a prediction needs is here: `semantic_seg_conv` helps training on photos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.weights.yolact.architecture import RATIOS, Architecture

_EXPANSION = 4
_MEAN = (123.68, 116.78, 103.94)
_STD = (58.40, 57.12, 57.38)
"""Of red, green, blue, 0..255; published in the order blue, green, red."""


class Bottleneck(nn.Module):
    """1x1, 3x3 (which has the stride), 1x1, and the way around them (He et al. 2015, arXiv 1512.03385)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * _EXPANSION
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        straight = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.bn2(self.conv2(x)))
        return functional.relu(self.bn3(self.conv3(x)) + straight)


class Backbone(nn.Module):
    """A ResNet of bottlenecks; answers C3, C4, C5."""

    def __init__(self, blocks: Sequence[int], stem: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layers = nn.ModuleList()
        inputs = stem
        for stage, count in enumerate(blocks):
            width = stem * 2**stage
            self.layers.append(
                nn.Sequential(
                    *(
                        Bottleneck(inputs if block == 0 else width * _EXPANSION, width, 2 if stage and not block else 1)
                        for block in range(count)
                    )
                )
            )
            inputs = width * _EXPANSION

    def forward(self, x: Tensor) -> list[Tensor]:
        x = functional.max_pool2d(functional.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        return maps[1:]


class Pyramid(nn.Module):
    """The feature pyramid P3 to P7 (Lin et al. 2017, arXiv 1612.03144). `lat_layers` and `pred_layers` stand in the
    published order: the coarsest map, C5 and P5, first."""

    def __init__(self, inputs: Sequence[int], channels: int) -> None:
        super().__init__()
        self.lat_layers = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in reversed(inputs))
        self.pred_layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in inputs)
        self.downsample_layers = nn.ModuleList(nn.Conv2d(channels, channels, 3, stride=2, padding=1) for _ in range(2))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        sums: list[Tensor] = []
        for lateral, features in zip(self.lat_layers, reversed(maps), strict=True):
            level = lateral(features)
            if sums:
                level = level + _resized(sums[-1], level)
            sums.append(level)
        levels = [functional.relu(layer(level)) for layer, level in zip(self.pred_layers, sums, strict=True)][::-1]
        for layer in self.downsample_layers:
            levels.append(layer(levels[-1]))  # without ReLU, as published
        return levels


def _resized(x: Tensor, like: Tensor) -> Tensor:
    """To the exact size of the finer map: the published inputs are no multiple of the strides."""
    size = [int(side) for side in like.shape[-2:]]
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=False)


class Head(nn.Module):
    """What every cell of a level says: boxes, classes and mask coefficients of its priors."""

    def __init__(self, channels: int, classes: int, masks: int) -> None:
        super().__init__()
        self.upfeature = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())
        self.bbox_layer = nn.Conv2d(channels, len(RATIOS) * 4, 3, padding=1)
        self.conf_layer = nn.Conv2d(channels, len(RATIOS) * classes, 3, padding=1)
        self.mask_layer = nn.Conv2d(channels, len(RATIOS) * masks, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.upfeature(x)
        return (
            _by_prior(self.bbox_layer(x)),
            _by_prior(self.conf_layer(x)),
            torch.tanh(_by_prior(self.mask_layer(x))),
        )


def _by_prior(x: Tensor) -> Tensor:
    """(n, priors of a cell * values, rows, columns) -> (n, priors, values)."""
    values = x.shape[1] // len(RATIOS)
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, values)


class Yolact(nn.Module):
    """Normalised pictures, float32 (n, 3, size, size), to loc (n, priors, 4), class logits (n, priors, classes),
    coef (n, priors, masks) and proto (n, rows, columns, masks)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        stem, channels, masks = architecture.stem, architecture.fpn, architecture.masks
        self.backbone = Backbone(architecture.blocks, stem)
        self.fpn = Pyramid([stem * _EXPANSION * 2**stage for stage in (1, 2, 3)], channels)
        self.proto_net = nn.Sequential(
            *(layer for _ in range(3) for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, masks, 1),
        )
        # the published network has a head a level, which all use the first one's weights
        self.prediction_layers = nn.ModuleList([Head(channels, architecture.classes, masks)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels = self.fpn(self.backbone(x))
        proto = functional.relu(self.proto_net(levels[0])).permute(0, 2, 3, 1)
        loc, conf, coef = zip(*(self.prediction_layers[0](level) for level in levels), strict=True)
        return torch.cat(loc, 1), torch.cat(conf, 1), torch.cat(coef, 1), proto


class Served(nn.Module):
    """The network as it is served: `image` float32 RGB (n, size, size, 3), 0..255, to loc, conf after softmax, coef
    and proto."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Yolact) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(_MEAN))
        self.register_buffer("std", torch.tensor(_STD))

    def normalised(self, image: Tensor) -> Tensor:
        return ((image - self.mean) / self.std).permute(0, 3, 1, 2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        loc, conf, coef, proto = self.network(self.normalised(image))
        return loc, torch.softmax(conf, -1), coef, proto
