"""A BLIP model behind its tensors, in this process: as Triton answers, so answers `inference.local`."""

from collections.abc import Sequence
from pathlib import Path

from inference.client import Tensor, Tensors
from inference.scenes import wire
from inference.scenes.blip import BlipModel


class ServedBlip:
    """The model in `folder`. May be shared by threads."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        self._model = BlipModel(folder, threads=threads)

    def run(self, outputs: Sequence[str], inputs: Tensors) -> list[Tensor]:
        """
        Raises:
            InvalidInferenceRequestError: inputs or outputs are not those of such a model.
            ValueError: there is no such output.
        """
        unknown = set(outputs) - set(wire.OUTPUTS)
        if unknown:
            raise ValueError(f"there is no output {', '.join(sorted(unknown))}")
        answers = [answer for answer in self._model.captions(wire.unpack_tasks(inputs)) if answer is not None]
        packed = wire.pack_answers(answers, self._model.numbers.max_tokens)
        return [packed[name] for name in outputs]
