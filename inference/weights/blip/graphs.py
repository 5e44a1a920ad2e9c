"""The two halves of BLIP as they are exported: what goes in and comes out of each graph."""

import torch
from torch import Tensor, nn

from inference.weights.blip.config import Normalisation
from inference.weights.blip.network import Blip


class PictureGraph(nn.Module):
    """What is exported as the encoder: image uint8 (n, side, side, 3) -> keys and values, layer by layer."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: Blip, normalisation: Normalisation) -> None:
        super().__init__()
        self.network = network
        self.factor = normalisation.factor
        self.register_buffer("mean", torch.tensor(normalisation.mean).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalisation.std).reshape(1, 3, 1, 1))

    def pixels(self, image: Tensor) -> Tensor:
        return (image.permute(0, 3, 1, 2).to(torch.float32) * self.factor - self.mean) / self.std

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pairs = self.network.text_decoder.picture(self.network.vision_model(self.pixels(image)))
        return tuple(tensor for pair in pairs for tensor in pair)


class StepGraph(nn.Module):
    """What is exported as the decoder: one step for prompt and tokens alike.

    ids (images, beams, tokens); rows (images * beams): which row of the step before each row continues; then keys and
    values of the past and of the pictures, layer by layer. Answers the logits of each row's last token, and keys and
    values of past and present.
    """

    def __init__(self, network: Blip) -> None:
        super().__init__()
        self.decoder = network.text_decoder

    def forward(self, ids: Tensor, rows: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        layers = len(self.decoder.layers)
        pasts = [(states[2 * i].index_select(0, rows), states[2 * i + 1].index_select(0, rows)) for i in range(layers)]
        crosses = [(states[2 * i], states[2 * i + 1]) for i in range(layers, 2 * layers)]
        flat = ids.reshape(-1, ids.shape[2])
        hidden, now = self.decoder.hidden(flat, pasts, crosses)
        return self.decoder.scores(hidden[:, -1]), *(tensor for pair in now for tensor in pair)
