"""Sizes of a YOLACT network (Bolya et al. 2019, arXiv 1904.02689) and the three published sets of them."""

from dataclasses import dataclass

from inference.config import SegmenterSpec

RATIOS = (1.0, 0.5, 2.0)
LEVELS = 5


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the network is made of. size_px: of its square input. blocks: residual blocks of the four stages of the
    ResNet; stem: channels of its first convolution (a stage has 4, 8, 16, 32 times as many). fpn: channels of the
    pyramid, the head and the prototype net. masks: prototypes. scales_px: of each level's priors."""

    size_px: int
    classes: int
    """With the background."""
    scales_px: tuple[float, ...]
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    stem: int = 64
    fpn: int = 256
    masks: int = 32

    @property
    def grids(self) -> tuple[int, ...]:
        """Cells along a side of P3 to P7. Every halving rounds up, as all layers that halve are padded."""
        size, sizes = self.size_px, []
        for _ in range(2 + LEVELS):
            size = -(-size // 2)
            sizes.append(size)
        return tuple(sizes[2:])

    @property
    def priors(self) -> int:
        return len(RATIOS) * sum(grid * grid for grid in self.grids)

    @property
    def proto_px(self) -> int:
        """Side of the prototypes."""
        return 2 * self.grids[0]

    def spec(self, name: str, labels: tuple[str, ...], domain: str = "") -> SegmenterSpec:
        return SegmenterSpec(
            name=name,
            size_px=self.size_px,
            labels=labels,
            grids=self.grids,
            scales_px=self.scales_px,
            ratios=RATIOS,
            domain=domain,
        )


_SCALES_550 = (24.0, 48.0, 96.0, 192.0, 384.0)
_COCO_CLASSES = 81
VARIANTS = {
    "resnet50": Architecture(550, _COCO_CLASSES, _SCALES_550, (3, 4, 6, 3)),
    "base": Architecture(550, _COCO_CLASSES, _SCALES_550, (3, 4, 23, 3)),
    # scales published as int(x / 550 * 700): cut, not rounded
    "im700": Architecture(700, _COCO_CLASSES, (30.0, 61.0, 122.0, 244.0, 488.0), (3, 4, 23, 3)),
}
"""The published configurations; the number of classes is what the file says."""

# fmt: off
COCO_LABELS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed",
    "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier",
    "toothbrush",
)
# fmt: on
"""The 80 classes of COCO 2017 in the order of the published networks' outputs."""
