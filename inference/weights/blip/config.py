"""What a BLIP directory in the Hugging Face layout says of its network: `config.json` and `preprocessor_config.json`.

Nothing is taken for granted from the base model. A key that is absent has the value that the class of transformers
gives it (its files leave out what equals the default): so for the text decoder 8 heads, not the base model's 12.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import WeightsError
from inference.weights.blip.small_files import read_json

CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
PROCESSOR = "processor_config.json"
"""Newer versions of transformers write the preprocessor's numbers here, under `image_processor`."""
_ARCHITECTURE = "BlipForConditionalGeneration"
_BICUBIC = 3
# What a file may claim: several times what the large published network has, and no more than can be worked with.
_MOST_WIDTH = 4096
_MOST_INNER = 16_384
_MOST_LAYERS = 64
_MOST_HEADS = 256
_MOST_WORDS = 1 << 18
_POSITIONS = (8, 8192)
_MOST_IMAGE_PX = 1024
_MOST_PLACES = 4097
_REASONS = {
    "BlipForQuestionAnswering": "it answers questions (VQA) and writes no captions",
    "BlipForImageTextRetrieval": "it compares pictures with texts (retrieval) and writes no captions",
    "BlipModel": "it compares pictures with texts and writes no captions",
}
_TEXT_DEFAULTS: Mapping[str, Any] = {
    "vocab_size": 30524,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 512,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "bos_token_id": 30522,
    "sep_token_id": 102,
}
_VISION_DEFAULTS: Mapping[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 384,
    "patch_size": 16,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """The Vision Transformer. Sizes are pixels, `heads` share `width`."""

    width: int
    inner: int
    layers: int
    heads: int
    image_px: int
    patch_px: int
    eps: float

    @property
    def places(self) -> int:
        """Length of the sequence: the class token and the patches."""
        return 1 + (self.image_px // self.patch_px) ** 2


@dataclass(frozen=True, slots=True)
class TextConfig:
    """The text decoder. bos_id begins a text, sep_id ends it (`eos_token_id` of the file is never generated)."""

    vocabulary: int
    width: int
    inner: int
    layers: int
    heads: int
    positions: int
    eps: float
    bos_id: int
    sep_id: int


@dataclass(frozen=True, slots=True)
class BlipConfig:
    """Both halves."""

    vision: VisionConfig
    text: TextConfig


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`(pixel * factor - mean) / std` per channel, pixels 0..255 RGB."""

    factor: float = 1 / 255
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


def read_config(folder: Path) -> BlipConfig:
    """The network that `config.json` describes.

    Raises:
        WeightsError: it describes another network, or one that cannot be built.
    """
    content = read_json(folder / CONFIG)
    _check_kind(content)
    text, vision = content.get("text_config"), content.get("vision_config")
    if not isinstance(text, dict) or not isinstance(vision, dict):
        raise WeightsError(
            "config.json has no text_config or no vision_config: the number of attention heads cannot be told from "
            "the weights; take the published config.json"
        )
    return BlipConfig(_vision(vision), _text(text))


def _check_kind(content: Mapping[str, Any]) -> None:
    if content.get("model_type") != "blip":
        raise WeightsError(
            f"config.json describes a model of type {content.get('model_type')!r}; "
            "only BLIP captioning models (type 'blip') can be imported here"
        )
    for architecture in content.get("architectures") or [_ARCHITECTURE]:
        if architecture != _ARCHITECTURE:
            reason = _REASONS.get(architecture, "it is no captioning model")
            raise WeightsError(f"this is a {architecture}: {reason}; take a {_ARCHITECTURE} directory")


def _vision(found: Mapping[str, Any]) -> VisionConfig:
    part = _Part("vision_config", found, _VISION_DEFAULTS)
    config = VisionConfig(
        width=part.whole("hidden_size", most=_MOST_WIDTH),
        inner=part.whole("intermediate_size", most=_MOST_INNER),
        layers=part.whole("num_hidden_layers", most=_MOST_LAYERS),
        heads=part.whole("num_attention_heads", most=_MOST_HEADS),
        image_px=part.side("image_size"),
        patch_px=part.side("patch_size"),
        eps=part.eps(),
    )
    part.check_common(config.width, config.heads)
    if config.image_px < config.patch_px or config.image_px % config.patch_px:
        raise WeightsError(
            f"vision_config: patches of {config.patch_px} px do not fill an image of {config.image_px} px"
        )
    if config.places > _MOST_PLACES:
        raise WeightsError(
            f"vision_config: {config.places - 1} patches of {config.patch_px} px are more than {_MOST_PLACES - 1}, "
            "at all of which each of them would look"
        )
    return config


def _text(found: Mapping[str, Any]) -> TextConfig:
    part = _Part("text_config", found, _TEXT_DEFAULTS)
    vocabulary = part.whole("vocab_size", most=_MOST_WORDS)
    config = TextConfig(
        vocabulary=vocabulary,
        width=part.whole("hidden_size", most=_MOST_WIDTH),
        inner=part.whole("intermediate_size", most=_MOST_INNER),
        layers=part.whole("num_hidden_layers", most=_MOST_LAYERS),
        heads=part.whole("num_attention_heads", most=_MOST_HEADS),
        positions=part.whole("max_position_embeddings", least=_POSITIONS[0], most=_POSITIONS[1]),
        eps=part.eps(),
        bos_id=part.token("bos_token_id", vocabulary),
        sep_id=part.token("sep_token_id", vocabulary),
    )
    part.check_common(config.width, config.heads)
    return config


class _Part:
    """One half of `config.json`, read with checks that name the key."""

    def __init__(self, name: str, found: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._name = name
        self._values = {key: found.get(key, default) for key, default in defaults.items()}

    def whole(self, key: str, *, most: int, least: int = 1) -> int:
        value = self._values[key]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise WeightsError(f"{self._name}: {key} is {value!r}, not a whole number of {least} to {most}")
        return value

    def token(self, key: str, vocabulary: int) -> int:
        return self.whole(key, least=0, most=vocabulary - 1)

    def side(self, key: str) -> int:
        """Squares only; newer files write both sides."""
        value = self._values[key]
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            self._values[key] = value[0]
        return self.whole(key, most=_MOST_IMAGE_PX)

    def eps(self) -> float:
        value = self._values["layer_norm_eps"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise WeightsError(f"{self._name}: layer_norm_eps is {value!r}, not a small positive number")
        return float(value)

    def check_common(self, width: int, heads: int) -> None:
        if width % heads:
            raise WeightsError(f"{self._name}: {heads} attention heads do not divide a width of {width}")
        if self._values["hidden_act"] != "gelu":
            raise WeightsError(
                f"{self._name}: the activation {self._values['hidden_act']!r} is not supported, only 'gelu' is"
            )


def read_normalisation(folder: Path, image_px: int) -> Normalisation:
    """How the preprocessor makes numbers of pixels.

    Raises:
        WeightsError: it does something that the caller of an imported model would not do.
    """
    name = PREPROCESSOR
    content: Any
    if not (folder / PREPROCESSOR).is_file() and (folder / PROCESSOR).is_file():
        name, content = PROCESSOR, read_json(folder / PROCESSOR).get("image_processor")
    else:
        content = read_json(folder / PREPROCESSOR)
    if not isinstance(content, dict):
        raise WeightsError(f"{name} does not describe an image processor; take the published file")
    _check_size(name, content, image_px)
    rescales, normalises = content.get("do_rescale", True), content.get("do_normalize", True)
    usual = Normalisation()
    factor = content.get("rescale_factor", usual.factor) if rescales else 1.0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1:
        raise WeightsError(f"{name}: rescale_factor is {factor!r}, not a number between 0 and 1")
    if not normalises:
        return Normalisation(float(factor), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    mean = _three(name, "image_mean", content.get("image_mean", usual.mean))
    std = _three(name, "image_std", content.get("image_std", usual.std))
    if min(std) <= 0:
        raise WeightsError(f"{name}: image_std {list(std)} is not positive")
    return Normalisation(float(factor), mean, std)


def _check_size(name: str, content: Mapping[str, Any], image_px: int) -> None:
    size = content.get("size", {"height": image_px, "width": image_px})
    sides = [size, size] if isinstance(size, int) else size
    if isinstance(sides, dict):
        sides = [sides.get("height"), sides.get("width")]
    if sides != [image_px, image_px]:
        raise WeightsError(f"{name}: size is {size!r}, but the network of config.json sees {image_px} x {image_px} px")
    if not content.get("do_resize", True) or content.get("do_center_crop"):
        raise WeightsError(f"{name}: pictures must be squashed to {image_px} px, neither left as they are nor cropped")
    if content.get("resample", _BICUBIC) != _BICUBIC:
        raise WeightsError(
            f"{name}: resample is {content['resample']!r}; only {_BICUBIC} (Pillow's bicubic, BLIP's own) is supported"
        )


def _three(name: str, key: str, value: Any) -> tuple[float, float, float]:
    good = isinstance(value, list | tuple) and len(value) == 3
    if not good or not all(isinstance(number, int | float) and math.isfinite(number) for number in value):
        raise WeightsError(f"{name}: {key} is {value!r}, not three numbers")
    red, green, blue = (float(number) for number in value)
    return red, green, blue
