"""Sentences about pictures by BLIP: squash, one call, read the answer."""

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow

from inference.client import InferenceClient
from inference.config import CaptionerSpec
from inference.errors import InvalidInferenceRequestError
from inference.scenes import wire
from inference.scenes.wire import GROUP, Task
from inference.types import Caption, CaptionSettings, Image


def squashed(image: Image, size_px: int) -> Image:
    """`image` as a square of `size_px`, not keeping its proportions, by Pillow's bicubic filter (antialiased, on
    bytes): what the network was trained on. OpenCV's cubic has no antialiasing, and other captions come out."""
    if image.shape[:2] == (size_px, size_px):
        return image
    small = Pillow.fromarray(image).resize((size_px, size_px), Pillow.Resampling.BICUBIC)
    result: Image = np.asarray(small)
    return result


class Captioner:
    """Describes pictures with the network that `spec` describes. Safe to share between threads.

    The default settings are those of BLIP's published captioning configuration: three beams, 5 to 20 tokens. Its
    prompt "a picture of" is the caller's to give, or the model's own (`CaptionerSpec.prompt`): without either there is
    none, as is usual with the files of the Hugging Face hub.
    """

    def __init__(self, client: InferenceClient, spec: CaptionerSpec) -> None:
        self._client = client
        self.spec = spec

    def caption(self, images: Sequence[Image], settings: CaptionSettings | None = None) -> list[Caption]:
        """A caption for each image (RGB uint8, any size). The text begins with the prompt if the caller gave one.

        Up to `GROUP` pictures travel in one request and advance together. Single requests side by side, which the
        server joins, were as fast: four pictures took 5.5 s together and 5.0 to 5.7 s apart (base model, two cores).

        Raises:
            InvalidInferenceRequestError: a longer text is asked for than the model writes, or the prompt leaves no
                room for any. ServerError: the inference server did not answer as asked.
        """
        settings = settings or CaptionSettings()
        if settings.max_length > self.spec.max_tokens:
            raise InvalidInferenceRequestError(
                f"max_length is {settings.max_length}, but model {self.spec.name!r} writes at most "
                f"{self.spec.max_tokens} tokens"
            )
        prompt = self.spec.prompt if settings.prompt is None else settings.prompt
        tasks = [
            Task(squashed(image, self.spec.size_px), settings, prompt, keeps_prompt=settings.prompt is not None)
            for image in images
        ]
        parts = [tasks[start : start + GROUP] for start in range(0, len(tasks), GROUP)]
        return [caption for part in parts for caption in self._part(part)]

    def _part(self, tasks: Sequence[Task]) -> list[Caption]:
        inputs = wire.pack_tasks(tasks)
        outputs = self._client.infer(self.spec.name, inputs, wire.OUTPUTS, deadline_s=self.spec.deadline_s)
        answers = wire.unpack_answers(outputs, len(tasks))
        return [Caption(answer.text, answer.score, answer.token_ids) for answer in answers]
