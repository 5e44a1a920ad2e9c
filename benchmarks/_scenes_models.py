"""Networks of the published sizes with random weights, for what they cost: what they see means nothing.

    python -m benchmarks._scenes_models FOLDER

A process of its own, so that what PyTorch and the conversion take of memory is gone when the measuring begins.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from inference.codec import decode
from inference.scenes.masks import squashed
from portrait.demo.photos import built_in
from portrait.env import BASE_DIR

SEGMENTER, CAPTIONER = "yolact-resnet50", "blip-base"
HUGGING_FACE = "hugging-face"
SEED = 1
BUSY = 0.002
"""Share of the priors above the score threshold, as in a photo of a room: some objects, each seen by many priors."""
_WORDS, _ADDED = 30_522, 2
_SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]"}


def made(folder: Path) -> Path:
    """`folder` with the two models and, in `HUGGING_FACE`, BLIP as transformers reads it; made once."""
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", __name__, str(folder)], cwd=BASE_DIR, check=True)
        (folder / "done").touch()
    return folder


def photos() -> list[bytes]:
    return [photo.data for photo in built_in().probes]


def make_segmenter(folder: Path) -> None:
    import torch

    from inference.weights.yolact.architecture import VARIANTS
    from inference.weights.yolact.importer import import_yolact
    from inference.weights.yolact.network import Served, Yolact

    torch.manual_seed(SEED)
    architecture = VARIANTS["resnet50"]
    network = Yolact(architecture)
    served = Served(network)
    images = torch.from_numpy(np.stack([squashed(decode(data), architecture.size_px) for data in photos()[:4]]))
    with torch.inference_mode():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain mean: after one look, signals are neither lost nor beyond bounds
        network.train()(served.normalised(images))
        network.eval()
        inputs = [torch.from_numpy(squashed(decode(data), architecture.size_px)[None]) for data in photos()]
        _make_busy(network, torch.cat([network(served.normalised(image))[1] for image in inputs]))
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "random.pth"
        torch.save(network.state_dict(), weights)
        import_yolact(weights=weights, variant="resnet50", name=SEGMENTER, models_dir=folder)


def _make_busy(network, logits) -> None:
    """Scale and shift the class logits, so that in every photo `BUSY` of the priors, or more, see something: else there
    would be no masks to make. logits: (photos, priors, classes)."""
    head, classes = network.prediction_layers[0].conf_layer, logits.shape[-1]
    scale = 3 / logits.std()
    head.weight.mul_(scale)
    head.bias.mul_(scale)
    logits = logits * scale
    # by how much the background leads; it may by about 1 where another class is to be above the score threshold
    lead = logits[..., 0] - logits[..., 1:].max(-1).values
    needed = lead.kthvalue(max(1, int(BUSY * lead.shape[1])), dim=1).values.max()
    head.bias[::classes] += 1 - needed


def make_captioner(folder: Path) -> None:
    import torch
    from transformers import BlipConfig, BlipForConditionalGeneration

    from inference.weights.blip.importer import import_blip

    torch.manual_seed(SEED)
    config = BlipConfig(text_config={"num_attention_heads": 12}, vision_config={"image_size": 384})
    source = folder / HUGGING_FACE
    model = BlipForConditionalGeneration(config).eval()
    with torch.no_grad():  # random embeddings all but tie; wider ones make texts that rounding does not turn
        model.text_decoder.cls.predictions.decoder.weight.mul_(4)
    model.save_pretrained(source)
    words = [_SPECIAL.get(place, f"w{place}") for place in range(_WORDS)]
    (source / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    preprocessor = {"size": {"height": 384, "width": 384}, "resample": 3, "image_processor_type": "BlipImageProcessor"}
    (source / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    assert config.text_config.vocab_size == _WORDS + _ADDED
    import_blip(weights=source, name=CAPTIONER, models_dir=folder)


if __name__ == "__main__":
    make_segmenter(Path(sys.argv[1]))
    make_captioner(Path(sys.argv[1]))
