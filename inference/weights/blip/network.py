"""BLIP for captions (Li et al. 2022, arXiv 2201.12086) in torch: a Vision Transformer and a BERT-like text decoder
with cross-attention. Modules carry the names of the published Hugging Face layout, so that its keys load as they are.

Written for export: the decoder takes keys and values of earlier tokens and of the picture as tensors, layer by layer.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from inference.weights.blip.config import BlipConfig, TextConfig, VisionConfig

_MASKED = -1e9
Pair = tuple[Tensor, Tensor]
"""Keys and values of one layer."""


def _heads(hidden: Tensor, heads: int) -> Tensor:
    """(n, tokens, width) -> (n, heads, tokens, width / heads)."""
    return hidden.reshape(hidden.shape[0], hidden.shape[1], heads, hidden.shape[2] // heads).transpose(1, 2)


def _joined(hidden: Tensor) -> Tensor:
    """The inverse of `_heads`."""
    turned = hidden.transpose(1, 2)
    return turned.reshape(turned.shape[0], turned.shape[1], turned.shape[2] * turned.shape[3])


class _VisionAttention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.scale = 1 / math.sqrt(config.width // config.heads)
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.projection = nn.Linear(config.width, config.width)

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = (_heads(part, self.heads) for part in self.qkv(hidden).chunk(3, dim=-1))
        weights = torch.softmax((query * self.scale) @ key.transpose(-1, -2), dim=-1)
        return cast("Tensor", self.projection(_joined(weights @ value)))


class _VisionMlp(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.fc1 = nn.Linear(config.width, config.inner)
        self.fc2 = nn.Linear(config.inner, config.width)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast("Tensor", self.fc2(functional.gelu(self.fc1(hidden))))


class _VisionLayer(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.self_attn = _VisionAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.width, eps=config.eps)
        self.mlp = _VisionMlp(config)
        self.layer_norm2 = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = hidden + self.self_attn(self.layer_norm1(hidden))
        return cast("Tensor", hidden + self.mlp(self.layer_norm2(hidden)))


class _VisionEmbeddings(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.zeros(1, 1, config.width))
        self.position_embedding = nn.Parameter(torch.zeros(1, config.places, config.width))
        self.patch_embedding = nn.Conv2d(3, config.width, kernel_size=config.patch_px, stride=config.patch_px)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(patches.shape[0], -1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding


class _VisionEncoder(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_VisionLayer(config) for _ in range(config.layers))


class VisionModel(nn.Module):
    """Normalised pixels (n, 3, side, side) -> states (n, 1 + patches, width)."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.embeddings = _VisionEmbeddings(config)
        self.encoder = _VisionEncoder(config)
        self.post_layernorm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, pixels: Tensor) -> Tensor:
        hidden = self.embeddings(pixels)
        for layer in self.encoder.layers:
            hidden = layer(hidden)
        return cast("Tensor", self.post_layernorm(hidden))


class _Projections(nn.Module):
    """Query, key and value of an attention; keys and values may come from states of another width."""

    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(source_width, config.width)
        self.value = nn.Linear(source_width, config.width)


class _AddNorm(nn.Module):
    """A projection, the residual, a layer norm (after, as BERT does)."""

    def __init__(self, inputs: int, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        return cast("Tensor", self.LayerNorm(self.dense(hidden) + residual))


class _TextAttention(nn.Module):
    def __init__(self, config: TextConfig, source_width: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.scale = 1 / math.sqrt(config.width // config.heads)
        self.self = _Projections(config, source_width)
        self.output = _AddNorm(config.width, config)

    def queries(self, hidden: Tensor) -> Tensor:
        return _heads(self.self.query(hidden) * self.scale, self.heads)

    def keys_values(self, source: Tensor) -> Pair:
        """Keys (n, heads, width / heads, tokens), turned for the product; values (n, heads, tokens, width / heads)."""
        key, value = self.self.key(source), self.self.value(source)
        return _heads(key, self.heads).transpose(-1, -2), _heads(value, self.heads)


class _Intermediate(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.inner)

    def forward(self, hidden: Tensor) -> Tensor:
        return functional.gelu(self.dense(hidden))


class _TextLayer(nn.Module):
    def __init__(self, config: TextConfig, picture_width: int) -> None:
        super().__init__()
        self.attention = _TextAttention(config, config.width)
        self.crossattention = _TextAttention(config, picture_width)
        self.intermediate = _Intermediate(config)
        self.output = _AddNorm(config.inner, config)

    def forward(self, hidden: Tensor, mask: Tensor, past: Pair, cross: Pair) -> tuple[Tensor, Pair]:
        """hidden (images * beams, tokens, width), mask (tokens, past + tokens), past: of the earlier tokens.
        cross: of the pictures, (images, ...): all beams of a picture look at them in one product."""
        key, value = self.attention.keys_values(hidden)
        key, value = torch.cat([past[0], key], dim=3), torch.cat([past[1], value], dim=2)
        weights = torch.softmax(self.attention.queries(hidden) @ key + mask, dim=-1)
        hidden = self.attention.output(_joined(weights @ value), hidden)
        return self.output(self.intermediate(looked := self._look(hidden, cross)), looked), (key, value)

    def _look(self, hidden: Tensor, cross: Pair) -> Tensor:
        rows, tokens, width = hidden.shape[0], hidden.shape[1], hidden.shape[2]
        folded = hidden.reshape(cross[0].shape[0], -1, width)
        weights = torch.softmax(self.crossattention.queries(folded) @ cross[0], dim=-1)
        seen = _joined(weights @ cross[1]).reshape(rows, tokens, width)
        return cast("Tensor", self.crossattention.output(seen, hidden))


class _TextEmbeddings(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocabulary, config.width)
        self.position_embeddings = nn.Embedding(config.positions, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        return cast("Tensor", self.LayerNorm(self.word_embeddings(ids) + self.position_embeddings(positions)))


class _TextEncoder(nn.Module):
    def __init__(self, config: TextConfig, picture_width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_TextLayer(config, picture_width) for _ in range(config.layers))


class _Bert(nn.Module):
    def __init__(self, config: TextConfig, picture_width: int) -> None:
        super().__init__()
        self.embeddings = _TextEmbeddings(config)
        self.encoder = _TextEncoder(config, picture_width)


class _Transform(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.width, config.width)
        self.LayerNorm = nn.LayerNorm(config.width, eps=config.eps)

    def forward(self, hidden: Tensor) -> Tensor:
        return cast("Tensor", self.LayerNorm(functional.gelu(self.dense(hidden))))


class _Predictions(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(config.vocabulary))
        self.transform = _Transform(config)


class _Head(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.predictions = _Predictions(config)


class TextDecoder(nn.Module):
    """Tokens -> scores of the next one. The last matrix is the embedding of the words: it is tied."""

    def __init__(self, config: TextConfig, picture_width: int) -> None:
        super().__init__()
        self.config = config
        self.bert = _Bert(config, picture_width)
        self.cls = _Head(config)

    @property
    def layers(self) -> list[_TextLayer]:
        return [cast("_TextLayer", layer) for layer in self.bert.encoder.layer]

    def picture(self, states: Tensor) -> list[Pair]:
        """Keys and values of the cross-attentions, once a picture."""
        return [layer.crossattention.keys_values(states) for layer in self.layers]

    def hidden(self, ids: Tensor, pasts: Sequence[Pair], crosses: Sequence[Pair]) -> tuple[Tensor, list[Pair]]:
        """States of the tokens ids (images * beams, tokens), and all keys and values so far."""
        done, tokens = pasts[0][1].shape[2], ids.shape[1]
        keys = torch.arange(done + tokens, device=ids.device)
        positions = keys[done:]
        mask = (keys[None, :] > positions[:, None]).to(torch.float32) * _MASKED
        hidden, now = self.bert.embeddings(ids, positions), []
        for layer, past, cross in zip(self.layers, pasts, crosses, strict=True):
            hidden, pair = layer(hidden, mask, past, cross)
            now.append(pair)
        return hidden, now

    def scores(self, hidden: Tensor) -> Tensor:
        """(..., width) -> logits (..., vocabulary)."""
        words = self.bert.embeddings.word_embeddings.weight
        return functional.linear(self.cls.predictions.transform(hidden), words, self.cls.predictions.bias)

    def no_past(self, rows: int) -> list[Pair]:
        """Keys and values of no token at all."""
        heads, size = self.config.heads, self.config.width // self.config.heads
        return [(torch.zeros(rows, heads, size, 0), torch.zeros(rows, heads, 0, size)) for _ in self.layers]


class Blip(nn.Module):
    """The whole network. In training all tokens go through at once: `logits`."""

    def __init__(self, config: BlipConfig) -> None:
        super().__init__()
        self.vision_model = VisionModel(config.vision)
        self.text_decoder = TextDecoder(config.text, config.vision.width)

    def logits(self, pixels: Tensor, ids: Tensor) -> Tensor:
        """pixels (n, 3, side, side) normalised, ids (n, tokens) -> (n, tokens, vocabulary)."""
        crosses = self.text_decoder.picture(self.vision_model(pixels))
        hidden, _ = self.text_decoder.hidden(ids, self.text_decoder.no_past(ids.shape[0]), crosses)
        return self.text_decoder.scores(hidden)
