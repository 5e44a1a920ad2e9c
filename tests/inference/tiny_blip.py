"""A BLIP of a few thousand random numbers in the published layout, made by transformers: the oracle of our own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.types import Image

REASON = "transformers and torch are needed: the extra `convert` and the tests' own"
SIDE = 32
WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefghijklmnopqrstuvwxyz.,'-!",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    *("picture", "of", "red", "circle"),
]
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PREPROCESSOR = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": MEAN,
    "image_std": STD,
    "image_processor_type": "BlipImageProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"height": SIDE, "width": SIDE},
}


def make_reference(seed: int = 0, **text: Any) -> Any:
    """The model of transformers, with weights so large that captions differ from picture to picture."""
    transformers = pytest.importorskip("transformers", reason=REASON)
    torch = pytest.importorskip("torch", reason=REASON)
    torch.set_num_threads(1)  # many small operations: threads would only wait for one another
    torch.manual_seed(seed)
    config = transformers.BlipConfig(
        text_config={
            "vocab_size": len(WORDS) + 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": 40,
            "bos_token_id": len(WORDS),
            "sep_token_id": 3,
            "initializer_range": 0.5,
            **text,
        },
        vision_config={
            "hidden_size": 48,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "image_size": SIDE,
            "patch_size": 8,
            "initializer_range": 0.3,
        },
    )
    return transformers.BlipForConditionalGeneration(config).eval()


def save(model: Any, folder: Path) -> Path:
    """A directory as the hub has it."""
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    return folder


def pictures(count: int, seed: int = 0, side: int = SIDE) -> list[Image]:
    generator = np.random.default_rng(seed)
    return list(generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8))
