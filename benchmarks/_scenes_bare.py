"""The other sides: nothing but `session.run` of the same graphs, and BLIP by transformers."""

from pathlib import Path

import numpy as np

from inference.codec import decode
from inference.runtime import onnxruntime as ort
from inference.scenes.blip import BlipNumbers, state_names
from inference.scenes.caption import squashed as squashed_bytes
from inference.scenes.masks import squashed as squashed_floats


def _session(path: Path):
    """As the served ones: all cores."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class BareSegmenter:
    """The network alone; its pictures are squashed beforehand, and nobody reads its answers."""

    def __init__(self, folder: Path, size_px: int, photos: list[bytes]) -> None:
        self._session = _session(folder / "1" / "model.onnx")
        self.inputs = [squashed_floats(decode(data), size_px)[None] for data in photos]

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        return self._session.run(None, {"image": image})


class BareCaptioner:
    """Encoder and steps; the best token goes on, in every beam alike. Keys and values stay with the runtime, which is
    the faster way to call it."""

    def __init__(self, folder: Path, photos: list[bytes]) -> None:
        import json

        version = folder / "1"
        self.numbers = BlipNumbers(**json.loads((version / "blip.json").read_text()))
        self._encoder, self._decoder = _session(version / "encoder.onnx"), _session(version / "decoder.onnx")
        self.inputs = [squashed_bytes(decode(data), self.numbers.size_px)[None] for data in photos]

    def run(self, image: np.ndarray, *, beams: int, steps: int) -> list[int]:
        """Answers the first beam's tokens."""
        value, layers = ort.OrtValue.ortvalue_from_numpy, self.numbers.layers
        crosses = self._encoder.run_with_ort_values(None, {"image": value(image)})
        seen = dict(zip(state_names("cross", layers), crosses, strict=True))
        heads, width = self.numbers.heads, self.numbers.head_width
        none = [np.zeros((1, heads, width, 0), np.float32), np.zeros((1, heads, 0, width), np.float32)]
        state = [value(array) for array in none] * layers
        outputs, pasts = ["logits", *state_names("now", layers)], state_names("past", layers)
        ids, rows, tokens = np.array([[[self.numbers.bos_id]]]), np.zeros(1, np.int64), list[int]()
        for _ in range(steps):
            feeds = {"ids": value(ids), "rows": value(rows), **dict(zip(pasts, state, strict=True)), **seen}
            logits, *state = self._decoder.run_with_ort_values(outputs, feeds)
            tokens.append(int(logits.numpy()[0].argmax()))
            rows = np.zeros(beams, np.int64) if len(tokens) == 1 else np.arange(beams)
            ids = np.full((1, beams, 1), tokens[-1])
        return tokens


class Transformers:
    """`generate()` of the reference, with as many threads; its pictures are prepared beforehand."""

    def __init__(self, folder: Path, photos: list[bytes], cores: int) -> None:
        import torch
        from transformers import BlipForConditionalGeneration

        torch.set_num_threads(cores)
        self._torch, self._model = torch, BlipForConditionalGeneration.from_pretrained(folder).eval()
        size = self._model.config.vision_config.image_size
        mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
        images = np.stack([squashed_bytes(decode(data), size) for data in photos])
        self.inputs = torch.from_numpy(((images / 255 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)).split(1)

    def run(self, pixels, *, beams: int, length: int) -> list[int]:
        """Answers the tokens."""
        with self._torch.inference_mode():
            found = self._model.generate(
                pixel_values=pixels, num_beams=beams, min_length=length, max_length=length, do_sample=False
            )
        return [int(token) for token in found[0]]
