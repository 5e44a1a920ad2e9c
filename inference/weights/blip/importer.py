"""A BLIP captioning directory in the Hugging Face layout -> a model of the repository.

Sizes, heads, tokens and normalisation come from the directory's own files; nothing is assumed of the base model. The
directory's code, if it has any, is never run.
"""

import re
import tempfile
from pathlib import Path
from typing import Any

from inference.config import CaptionerSpec, SceneTask
from inference.errors import WeightsError, WeightsNotFoundError
from inference.scenes.blip import DECODER, ENCODER, NUMBERS, VOCABULARY, BlipNumbers
from inference.scenes.vocabulary import SPECIAL, Vocabulary, read_words
from inference.scenes.wire import GROUP
from inference.types import CaptionSettings
from inference.weights.blip.config import (
    CONFIG,
    PREPROCESSOR,
    PROCESSOR,
    BlipConfig,
    read_config,
    read_normalisation,
)
from inference.weights.blip.small_files import read_json, read_small
from inference.weights.imported import Origin, Served, Wire, write_imported
from inference.weights.scene_names import check_name
from inference.weights.sources import sha256_of

MODEL_FILE = "model.py"
MODEL_SOURCE = '''"""Written by Portrait's importer: the model server finds `inference` through PYTHONPATH."""

import os
import sys

# The server's Python is embedded in a way that leaves PYTHONPATH out of sys.path.
for _folder in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    if _folder and _folder not in sys.path:
        sys.path.insert(0, _folder)

from inference.scenes.triton_model import TritonPythonModel  # noqa: E402 - only there it is found

__all__ = ["TritonPythonModel"]
'''
_MOST_TOKENS = 64
"""The longest text that is offered: a caption is one sentence, and every step costs."""
_TOKENIZER = "tokenizer.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_MOST_WORDS_BYTES = 4 << 20
_MOST_TOKENIZER_BYTES = 16 << 20
_ADDED = 2
"""So many numbers lie beyond vocab.txt: [DEC] and [ENC]."""
_ROUND = 64
"""Some files are filled up to a multiple of this."""
_EXTRA = "importing needs torch and safetensors: pip install 'portrait[convert]'"


def import_blip(
    *,
    weights: Path,
    name: str | None,
    models_dir: Path,
    prompt: str = "",
    licence: str = "unknown",
    homepage: str = "",
    domain: str = "",
) -> Path:
    """Convert the directory `weights`, compare with torch, and write `models_dir/<name>`; answers that folder.

    name: begins with `blip-`; None: `blip-` and the directory's name. prompt: what captions begin with where the
    caller gives no prompt; it is cut from the text. The published fine-tuning used "a picture of "; the hub's files
    are commonly used with none, which is the default here.

    Raises:
        WeightsError: something in the directory cannot be used; the message says what, and what to do.
    """
    if not weights.is_dir():
        raise WeightsNotFoundError(f"{weights} is no directory; give the one that holds config.json and the weights")
    name = name or default_name(weights)
    check_name(name, SceneTask.CAPTIONING)
    config = read_config(weights)
    words = _read_vocabulary(weights, config)
    spec = CaptionerSpec(
        name=name,
        size_px=config.vision.image_px,
        max_tokens=min(_MOST_TOKENS, config.text.positions),
        prompt=prompt,
        domain=domain,
    )
    lower_case = _lower_case(weights)
    _check_prompt(spec, words, lower_case=lower_case)
    with tempfile.TemporaryDirectory(prefix="portrait-blip-") as folder:
        encoder, decoder = Path(folder) / ENCODER, Path(folder) / DECODER
        parity, sources = _convert(weights, config, encoder, decoder)
        origin = Origin(
            kind="blip",
            licence=licence,
            homepage=homepage,
            files={path.name: sha256_of(path) for path in [*_settings(weights), *sources]},
            parity=parity,
        )
        files: dict[str, bytes | Path] = {
            ENCODER: encoder,
            DECODER: decoder,
            NUMBERS: numbers(config, spec, lower_case=lower_case).to_json().encode(),
            VOCABULARY: "".join(f"{word}\n" for word in words).encode(),
            MODEL_FILE: MODEL_SOURCE.encode(),
        }
        return write_imported(models_dir, spec, served(spec), origin, files)


def _check_prompt(spec: CaptionerSpec, words: list[str], *, lower_case: bool) -> None:
    """That every caption could begin with it, if nobody asks for a longer text than is usual."""
    room = min(spec.max_tokens, CaptionSettings().max_length)
    try:
        length = 1 + len(Vocabulary(words, lower_case=lower_case).encode(spec.prompt))
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the prompt is no text that can be written as tokens: {error}") from error
    if length >= room:
        raise WeightsError(
            f"the prompt is {length} tokens long (beginning included), which leaves no room in a text of {room}: "
            "every caption would be refused; give a shorter one, or none"
        )


def default_name(weights: Path) -> str:
    """`blip-image-captioning-base` as it is, `blip_base` as `blip-base`, anything else after `blip-`.

    Raises:
        WeightsError: nothing of the directory's name can be used.
    """
    plain = re.sub(r"[^a-z0-9.-]+", "-", weights.resolve().name.lower()).strip("-.").removeprefix("blip").strip("-.")
    if not plain:
        raise WeightsError(
            f"no name can be made of {weights.resolve().name!r}: give one with --name, such as blip-mine"
        )
    return f"blip-{plain}"


def served(spec: CaptionerSpec) -> Served:
    """How Triton serves a captioner; `inference.scenes.caption` and `triton_model` are its two ends."""
    return Served(
        backend="python",
        max_batch=GROUP,
        inputs=(
            Wire("image", "TYPE_UINT8", (spec.size_px, spec.size_px, 3)),
            Wire("prompt", "TYPE_STRING", (1,)),
            Wire("settings", "TYPE_FP64", (6,)),
        ),
        outputs=(
            Wire("text", "TYPE_STRING", (1,)),
            Wire("token_ids", "TYPE_INT32", (spec.max_tokens,)),
            Wire("score", "TYPE_FP32", (1,)),
        ),
        joins=True,
    )


def numbers(config: BlipConfig, spec: CaptionerSpec, *, lower_case: bool = True) -> BlipNumbers:
    """What the loop has to know of the graphs."""
    text = config.text
    return BlipNumbers(
        size_px=spec.size_px,
        max_tokens=spec.max_tokens,
        layers=text.layers,
        heads=text.heads,
        head_width=text.width // text.heads,
        vocabulary=text.vocabulary,
        bos_id=text.bos_id,
        sep_id=text.sep_id,
        lower_case=lower_case,
    )


def _convert(weights: Path, config: BlipConfig, encoder: Path, decoder: Path) -> tuple[dict[str, Any], list[Path]]:
    """Write both graphs; answers their parity and the files of weights. torch is imported here and nowhere before:
    the rest of this module has to work without it."""
    try:
        from inference.weights.blip import export, files
    except ModuleNotFoundError as error:
        raise WeightsError(_EXTRA) from error
    normalisation = read_normalisation(weights, config.vision.image_px)
    sources = files.weight_files(weights)
    network = files.outline(config).eval()
    try:
        tensors = files.read_weights(sources)
    except ModuleNotFoundError as error:
        raise WeightsError(_EXTRA) from error
    files.load(network, tensors)
    del tensors
    export.export(network, normalisation, config, encoder, decoder)
    return export.parity(network, normalisation, config, encoder, decoder), sources


def _read_vocabulary(weights: Path, config: BlipConfig) -> list[str]:
    text = config.text
    try:
        words = read_words(_vocabulary_bytes(weights))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{VOCABULARY} cannot be used ({error}); fetch it again") from error
    added = text.vocabulary - len(words)
    filled = text.vocabulary % _ROUND == 0 and added < _ADDED + _ROUND
    if added < 0 or (added > _ADDED and not filled):
        raise WeightsError(
            f"{VOCABULARY} has {len(words)} lines, but config.json has a vocab_size of {text.vocabulary}: "
            "the two do not belong together, or the file is not complete"
        )
    if text.sep_id >= len(words) or words[text.sep_id] != "[SEP]":
        raise WeightsError(
            f"config.json ends texts with token {text.sep_id}, which is not [SEP] in {VOCABULARY}: "
            "the two do not belong together, or the file was re-encoded"
        )
    if text.bos_id < len(words) and not re.fullmatch(r"\[.+\]", words[text.bos_id]):
        raise WeightsError(
            f"config.json begins texts with token {text.bos_id}, which is the word {words[text.bos_id]!r} in "
            f"{VOCABULARY} and none of {', '.join(SPECIAL)}: the two do not belong together"
        )
    return words


def _vocabulary_bytes(weights: Path) -> bytes:
    """`vocab.txt`; newer versions of transformers write its words into `tokenizer.json` alone."""
    if (weights / VOCABULARY).is_file():
        return read_small(weights / VOCABULARY, most_bytes=_MOST_WORDS_BYTES)
    if not (weights / _TOKENIZER).is_file():
        raise WeightsNotFoundError(f"{weights} has no {VOCABULARY}; take all files of the published directory")
    model = read_json(weights / _TOKENIZER, most_bytes=_MOST_TOKENIZER_BYTES).get("model")
    numbers = model.get("vocab") if isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece" else None
    if not isinstance(numbers, dict) or sorted(map(str, numbers.values())) != sorted(map(str, range(len(numbers)))):
        raise WeightsError(f"{_TOKENIZER} holds no WordPiece vocabulary; take the published {VOCABULARY}")
    return "".join(f"{word}\n" for word in sorted(numbers, key=lambda word: int(numbers[word]))).encode()


def _lower_case(weights: Path) -> bool:
    """BERT's uncased tokenizer, unless the directory says otherwise."""
    path = weights / _TOKENIZER_CONFIG
    return bool(read_json(path).get("do_lower_case", True)) if path.is_file() else True


def _settings(weights: Path) -> list[Path]:
    return [
        weights / name
        for name in (CONFIG, PREPROCESSOR, PROCESSOR, VOCABULARY, _TOKENIZER, _TOKENIZER_CONFIG)
        if (weights / name).is_file()
    ]
