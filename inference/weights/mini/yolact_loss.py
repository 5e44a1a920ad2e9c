"""How a YOLACT network is taught: which prior answers for which object, and what each mistake costs
(Bolya et al. 2019, arXiv 1904.02689, section 3; Liu et al. 2016, arXiv 1512.02325, for priors and negatives)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_POSITIVE_IOU = 0.5
_NEGATIVE_IOU = 0.4
"""A prior between the two learns no class."""
_NEGATIVES = 3
"""Background priors learnt from, for each that has an object: those the network is most wrong about."""
_VARIANCES = (0.1, 0.2)
_BOX_WEIGHT, _MASK_WEIGHT = 1.5, 6.125


@dataclass(frozen=True, slots=True)
class Truth:
    """A batch's objects, filled up to the same number. boxes (n, objects, 4): corners, shares of the side; labels
    (n, objects): from 1; 0 is none; masks (n, objects, rows, columns): 0..1 at the prototypes' size."""

    boxes: Tensor
    labels: Tensor
    masks: Tensor


@dataclass(frozen=True, slots=True)
class Matches:
    """labels (n, priors): 0 is background, -1 learns no class. objects (n, priors): index of the nearest object."""

    labels: Tensor
    objects: Tensor


def corners(centred: Tensor) -> Tensor:
    """Centre and size to corners, last axis."""
    middle, half = centred[..., :2], centred[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def overlaps(one: Tensor, other: Tensor) -> Tensor:
    """IoU of corners (..., a, 4) and (b, 4): (..., a, b)."""
    low = torch.maximum(one[..., :, None, :2], other[..., None, :, :2])
    high = torch.minimum(one[..., :, None, 2:], other[..., None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (one, other)]
    return shared / (areas[0][..., :, None] + areas[1][..., None, :] - shared).clamp(min=1e-9)


def match(truth: Truth, priors: Tensor) -> Matches:
    """The object that each prior overlaps most; each object has at least its best prior."""
    iou = overlaps(truth.boxes, corners(priors)).masked_fill((truth.labels == 0)[..., None], -1.0)
    best_prior = iou.argmax(-1)
    for index in range(iou.shape[1]):
        real = torch.nonzero(truth.labels[:, index] > 0)[:, 0]
        iou[real, index, best_prior[real, index]] = 2.0
    best, objects = iou.max(1)
    labels = truth.labels.gather(1, objects)
    labels = torch.where(best < _NEGATIVE_IOU, 0, torch.where(best < _POSITIVE_IOU, -1, labels))
    return Matches(labels, objects)


def encoded(boxes: Tensor, priors: Tensor) -> Tensor:
    """What the network has to say at `priors` (k, 4: centre, size) for `boxes` (k, 4: corners)."""
    middle, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    shift = (middle - priors[:, :2]) / (_VARIANCES[0] * priors[:, 2:])
    return torch.cat([shift, torch.log(size / priors[:, 2:]) / _VARIANCES[1]], -1)


def loss(outputs: tuple[Tensor, Tensor, Tensor, Tensor], truth: Truth, priors: Tensor) -> dict[str, Tensor]:
    """The parts of the loss, weighted; their sum is to be made small."""
    loc, logits, coef, proto = outputs
    matches = match(truth, priors)
    image, prior = torch.nonzero(matches.labels > 0, as_tuple=True)
    target = matches.objects[image, prior]
    boxes, count = truth.boxes[image, target], max(1, len(image))
    box = functional.smooth_l1_loss(loc[image, prior], encoded(boxes, priors[prior]), reduction="sum") / count
    mask = _mask_loss(proto[image], coef[image, prior], truth.masks[image, target], boxes) / count
    return {
        "class": _class_loss(logits, matches.labels) / count,
        "box": _BOX_WEIGHT * box,
        "mask": _MASK_WEIGHT * mask,
    }


def _class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy of all priors with an object and of the hardest of the others, image by image."""
    cost = functional.cross_entropy(logits.flatten(0, 1), labels.clamp(min=0).flatten(), reduction="none")
    cost = cost.view_as(labels)
    positive, negative = labels > 0, labels == 0
    rank = cost.detach().masked_fill(~negative, -1.0).argsort(1, descending=True).argsort(1)
    hard = negative & (rank < _NEGATIVES * positive.sum(1, keepdim=True).clamp(min=1))
    return cost[positive | hard].sum()


def _mask_loss(proto: Tensor, coef: Tensor, masks: Tensor, boxes: Tensor) -> Tensor:
    """Binary cross entropy inside the object's box, divided by the box's area: small objects count as much."""
    rows, columns = masks.shape[1:]
    logits = torch.einsum("krcm,km->krc", proto, coef)
    cost = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    x, y = torch.arange(columns) + 0.5, torch.arange(rows) + 0.5
    left, top, right, bottom = (boxes * torch.tensor([columns, rows, columns, rows]))[:, :, None].unbind(1)
    inside = ((y >= top - 1) & (y < bottom + 1))[:, :, None] & ((x >= left - 1) & (x < right + 1))[:, None, :]
    return ((cost * inside).sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)).sum()
