"""Importing BLIP directories: what is accepted, what it becomes, and what is refused with which words."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from inference.config import CaptionerSpec, spec_from_json
from inference.errors import ConversionMismatchError, WeightsError, WeightsNotFoundError
from inference.scenes.blip import BlipModel, state_names
from inference.scenes.wire import Answer, Task
from inference.types import CaptionSettings
from inference.weights.blip.importer import default_name, import_blip
from inference.weights.imported import changed_files, read_record
from tests.inference.tiny_blip import MEAN, SIDE, STD, WORDS, make_reference, pictures, save

torch = pytest.importorskip("torch", reason="the extra `convert`")
NAME = "blip-tiny"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(make_reference(), tmp_path_factory.mktemp("published"))


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(published, tmp_path / "published"))


def _import(folder: Path, tmp_path: Path, **more: Any) -> Path:
    return import_blip(weights=folder, name=NAME, models_dir=tmp_path / "models", **more)


def _captions(model: Path) -> list[Answer | None]:
    tasks = [Task(image, CaptionSettings(min_length=0), "") for image in pictures(3)]
    return BlipModel(model / "1", threads=1).captions(tasks)


def _tensors(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(folder / "model.safetensors"))


def _as_bin(folder: Path, tensors: dict[str, Any]) -> None:
    (folder / "model.safetensors").unlink(missing_ok=True)
    torch.save(tensors, folder / "pytorch_model.bin")


def _edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- what it becomes ------------------------------------------------------------------------------


def test_the_record_says_where_it_came_from_and_how_it_compared(published: Path, tmp_path: Path) -> None:
    model = _import(published, tmp_path, prompt="a picture of", licence="BSD-3-Clause", homepage="https://example.org")
    record = read_record(tmp_path / "models", NAME)
    assert set(record["origin"]["files"]) == {
        "config.json",
        "preprocessor_config.json",
        "vocab.txt",
        "model.safetensors",
    }
    parity = record["origin"]["parity"]
    assert len(parity["largest_difference"]) == 3
    assert all(0 < difference < parity["bound"] for difference in parity["largest_difference"].values())
    assert spec_from_json(record["parameters"]["portrait.spec"]) == CaptionerSpec(
        name=NAME, size_px=SIDE, max_tokens=40, prompt="a picture of"
    )
    assert changed_files(tmp_path / "models", NAME) == []
    config = (model / "config.pbtxt").read_text()
    assert 'backend: "python"' in config
    assert "dims: [32, 32, 3]" in config


def test_the_embedding_is_stored_once_and_heads_come_from_the_file(published: Path, tmp_path: Path) -> None:
    decoder = onnx.load(_import(published, tmp_path) / "1" / "decoder.onnx")
    words = [t for t in decoder.graph.initializer if set(t.dims) == {len(WORDS) + 2, 32}]
    assert len(words) == 1
    readers = {node.op_type for node in decoder.graph.node if words[0].name in node.input}
    assert readers == {"Gather", "Gemm"}
    inputs = {value.name: value.type.tensor_type.shape.dim for value in decoder.graph.input}
    assert [inputs["past_k_00"][1].dim_value, inputs["past_k_00"][2].dim_value] == [4, 8]
    assert set(state_names("cross", 2)) < set(inputs)


@pytest.mark.parametrize("kind", ["bin", "bin with copies", "half", "parts", "parts of bin", "copies only"])
def test_every_published_form_gives_the_same_captions(kind: str, published: Path, folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    expected = _captions(_import(published, tmp_path))
    tensors = _tensors(folder)
    words, bias = tensors["text_decoder.bert.embeddings.word_embeddings.weight"], "text_decoder.cls.predictions.bias"
    head = {
        "text_decoder.cls.predictions.decoder.weight": words,
        "text_decoder.cls.predictions.decoder.bias": tensors[bias],
    }
    half = len(tensors) // 2
    parts = {"one": dict(list(tensors.items())[:half]), "two": dict(list(tensors.items())[half:])}
    match kind:
        case "bin":
            _as_bin(folder, tensors)
        case "bin with copies":
            positions = {"text_decoder.bert.embeddings.position_ids": torch.arange(40)[None]}
            _as_bin(folder, {**tensors, **head, **positions})
        case "copies only":
            del tensors["text_decoder.bert.embeddings.word_embeddings.weight"], tensors[bias]
            _as_bin(folder, {**tensors, **head})
        case "half":
            exact = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
            save_file(exact, folder / "model.safetensors")
            reference = _captions(_import(folder, tmp_path))
            _as_bin(folder, {name: tensor.to(torch.float32) for name, tensor in exact.items()})
            expected = reference
        case "parts" | "parts of bin":
            (folder / "model.safetensors").unlink()
            first, last = ("model", ".safetensors") if kind == "parts" else ("pytorch_model", ".bin")
            for part, some in parts.items():
                path = folder / f"{first}-{part}{last}"
                save_file(some, path) if kind == "parts" else torch.save(some, path)
            places = {name: f"{first}-{part}{last}" for part, some in parts.items() for name in some}
            (folder / f"{first}{last}.index.json").write_text(json.dumps({"weight_map": places}))
    assert _captions(_import(folder, tmp_path)) == expected
    assert any(answer and answer.text for answer in expected)


def test_eight_heads_is_what_an_absent_number_means(tmp_path: Path) -> None:
    """transformers leaves out what equals its default, which is not the base model's twelve."""
    folder = save(make_reference(num_attention_heads=8), tmp_path / "published")
    _edit(folder / "config.json", lambda content: content["text_config"].pop("num_attention_heads", None))
    _import(folder, tmp_path)
    numbers = json.loads((tmp_path / "models" / NAME / "1" / "blip.json").read_text())
    assert (numbers["heads"], numbers["head_width"]) == (8, 4)


def test_the_preprocessors_numbers_are_honoured(published: Path, folder: Path, tmp_path: Path) -> None:
    plain = _captions(_import(published, tmp_path))
    _edit(
        folder / "preprocessor_config.json", lambda content: content.update(image_mean=[0.0] * 3, image_std=[1.0] * 3)
    )
    given = _captions(_import(folder, tmp_path))
    assert given != plain
    _edit(folder / "preprocessor_config.json", lambda content: content.update(do_normalize=False, image_mean=None))
    assert _captions(_import(folder, tmp_path)) == given
    content = json.loads((published / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    assert _captions(_import(folder, tmp_path)) == plain


def test_a_directory_as_transformers_writes_it_today_is_read(published: Path, folder: Path, tmp_path: Path) -> None:
    """The processor saved by the library itself, which writes other files than the published directories have."""
    import transformers

    words = transformers.BertTokenizer(vocab=str(published / "vocab.txt"))
    images = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=STD
    )
    (folder / "vocab.txt").unlink()
    (folder / "preprocessor_config.json").unlink()
    transformers.BlipProcessor(images, words).save_pretrained(folder)
    assert not (folder / "vocab.txt").exists()
    found = _captions(_import(folder, tmp_path))
    assert found == _captions(_import(published, tmp_path))
    _edit(folder / "tokenizer.json", lambda content: content["model"]["vocab"].update(extra=5))
    with pytest.raises(WeightsError, match="no WordPiece vocabulary"):
        _import(folder, tmp_path)


def test_encoder_and_decoder_are_those_of_transformers(published: Path, tmp_path: Path) -> None:
    """The pictures' keys, seen from outside: layer by layer what the reference computes."""
    model, reference = BlipModel(_import(published, tmp_path) / "1", threads=1), make_reference()
    images = np.stack(pictures(2))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(MEAN).reshape(1, 3, 1, 1)) / torch.tensor(STD).reshape(1, 3, 1, 1)
    with torch.no_grad():
        states = reference.vision_model(pixel_values=pixels)[0]
        layers = reference.text_decoder.bert.encoder.layer
        keys = [layer.crossattention.self.key(states).reshape(2, -1, 4, 8).permute(0, 2, 3, 1) for layer in layers]
        ids = torch.tensor([[len(WORDS), 5, 6], [len(WORDS), 7, 8]])
        logits = reference.text_decoder(input_ids=ids, encoder_hidden_states=states).logits[:, -1].numpy()
    decoding = model.decoding(list(images))
    found = decoding.step(ids.numpy()[:, None], np.arange(2))
    assert np.allclose(found, logits, atol=1e-3 * np.abs(logits).max())
    encoded = [model._encoder.run(["cross_k_00", "cross_k_01"], {"image": images})]
    for ours, theirs in zip(encoded[0], keys, strict=True):
        assert np.allclose(ours, theirs.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "made"),
    [("blip-image-captioning-base", "blip-image-captioning-base"), ("My Model_2", "blip-my-model-2")],
)
def test_a_name_is_made_of_the_directorys(given: str, made: str, tmp_path: Path) -> None:
    assert default_name(tmp_path / given) == made


# --- what is refused ------------------------------------------------------------------------------


def _text(**values: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "config.json", lambda content: content["text_config"].update(values))


def _vision(**values: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "config.json", lambda content: content["vision_config"].update(values))


def _top(**values: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "config.json", lambda content: content.update(values))


def _preprocessor(**values: Any) -> Callable[[Path], None]:
    return lambda folder: _edit(folder / "preprocessor_config.json", lambda content: content.update(values))


def _changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        tensors = _tensors(folder)
        change(tensors)
        _as_bin(folder, tensors)

    return spoil


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _cut(name: str, share: float) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(len(content) * share)])

    return spoil


def _cut_bin(folder: Path) -> None:
    _as_bin(folder, _tensors(folder))
    _cut("pytorch_model.bin", 0.6)(folder)


class _Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/portrait-was-here",)


def _malicious(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Malicious()}))


def _malicious_archive(folder: Path) -> None:
    _as_bin(folder, {**_tensors(folder), "more": _Malicious()})


def _index(content: dict[str, Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return spoil


def _words(change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    return lambda folder: (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in change(list(WORDS))))  # type: ignore[return-value]


_QUERY = "text_decoder.bert.encoder.layer.0.attention.self.query.weight"
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "no config": (_without("config.json"), "no config.json"),
    "config is no json": (_cut("config.json", 0.5), "config.json cannot be read"),
    "a list": (lambda folder: (folder / "config.json").write_text("[1]"), "no JSON object"),  # type: ignore[dict-item,return-value]
    "deep": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "cannot be read"),  # type: ignore[dict-item,return-value]
    "other type": (_top(model_type="blip-2"), "'blip-2'"),
    "questions": (_top(architectures=["BlipForQuestionAnswering"]), "VQA"),
    "retrieval": (_top(architectures=["BlipForImageTextRetrieval"]), "retrieval"),
    "no text config": (_top(text_config=None), "attention heads cannot be told"),
    "heads": (_text(num_attention_heads=5), "5 attention heads do not divide"),
    "no number": (_text(hidden_size="32"), "hidden_size is '32'"),
    "zero layers": (_vision(num_hidden_layers=0), "num_hidden_layers is 0"),
    "activation": (_text(hidden_act="relu"), "'relu'"),
    "eps": (_text(layer_norm_eps=0), "layer_norm_eps"),
    "bos": (_text(bos_token_id=len(WORDS) + 2), "bos_token_id"),
    "bos is a word": (_text(bos_token_id=WORDS.index("red")), "the word 'red'"),
    "sep": (_text(sep_token_id=7), "not \\[SEP\\]"),
    "oblong": (_vision(image_size=[32, 48]), "image_size"),
    "patches": (_vision(patch_size=7), "do not fill"),
    "wider": (_text(hidden_size=64), "has the shape"),
    "more layers": (_text(num_hidden_layers=3), "missing: .*layer.2"),
    "fewer layers": (_vision(num_hidden_layers=1), "unexpected: .*layers.1"),
    "no preprocessor": (_without("preprocessor_config.json"), "no preprocessor_config.json"),
    "size": (_preprocessor(size={"height": 64, "width": 64}), "32 x 32"),
    "shortest edge": (_preprocessor(size={"shortest_edge": 32}), "32 x 32"),
    "crop": (_preprocessor(do_center_crop=True), "nor cropped"),
    "bilinear": (_preprocessor(resample=2), "bicubic"),
    "two means": (_preprocessor(image_mean=[0.5, 0.5]), "three numbers"),
    "std": (_preprocessor(image_std=[0.5, 0.0, 0.5]), "not positive"),
    "no vocabulary": (_without("vocab.txt"), "no vocab.txt"),
    "short vocabulary": (_words(lambda words: words[:6]), "6 lines.*not complete"),
    "long vocabulary": (_words(lambda words: [*words, "x1", "x2", "x3"]), "do not belong together"),
    "shifted vocabulary": (_words(lambda words: [words[0], "[CLS]", *words[1:-1]]), "not \\[SEP\\]"),
    "binary vocabulary": (lambda folder: (folder / "vocab.txt").write_bytes(b"\xff\xfe\x00"), "cannot be used"),  # type: ignore[dict-item,return-value]
    "no weights": (_without("model.safetensors"), "neither model.safetensors nor"),
    "cut": (_cut("model.safetensors", 0.7), "damaged"),
    "empty": (_cut("model.safetensors", 0), "damaged"),
    "cut bin": (_cut_bin, "damaged"),
    "program": (_malicious, "could run a program: it was not loaded"),
    "program in archive": (_malicious_archive, "could run a program: it was not loaded"),
    "missing": (_changed(lambda tensors: tensors.pop(_QUERY)), f"missing: {_QUERY}"),
    "unexpected": (_changed(lambda tensors: tensors.update(strange=torch.ones(1))), "unexpected: strange"),
    "shape": (_changed(lambda tensors: tensors.update({_QUERY: torch.ones(32, 31)})), "config.json wants"),
    "integers": (_changed(lambda tensors: tensors.update({_QUERY: torch.ones(32, 32).char()})), "quantised"),
    "not finite": (_changed(lambda tensors: tensors[_QUERY].fill_(float("nan"))), "not finite"),
    "no tensor": (_changed(lambda tensors: tensors.update(epoch=3)), "'epoch', a int"),
    "untied": (
        _changed(lambda tensors: tensors.update({"text_decoder.cls.predictions.decoder.weight": torch.ones(5, 5)})),
        "only tied networks",
    ),
    "questions by weights": (
        _changed(lambda tensors: tensors.update({"text_encoder.embeddings.weight": torch.ones(1)})),
        "not a captioning model",
    ),
    "part missing": (_index({"weight_map": {"a": "model-1.safetensors"}}), "model-1.safetensors, which is missing"),
    "part outside": (_index({"weight_map": {"a": "../../secret"}}), "outside of the directory"),
    "no parts": (_index({}), "no weight_map"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_imported_is_refused_and_leaves_nothing(case: str, folder: Path, tmp_path: Path) -> None:
    spoil, told = REFUSED[case]
    spoil(folder)
    with pytest.raises(WeightsError, match=told):
        _import(folder, tmp_path)
    assert not (tmp_path / "models").exists()
    assert not Path("/tmp/portrait-was-here").exists()


@pytest.mark.parametrize("name", ["yolact-base", "blip-", "blip-../x", "blip-A", "Blip-a", "blip-a/b"])
def test_a_name_that_cannot_be_one_is_refused(name: str, published: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="begins with blip-"):
        import_blip(weights=published, name=name, models_dir=tmp_path)


def test_a_file_instead_of_a_directory_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsNotFoundError, match="no directory"):
        _import(published / "model.safetensors", tmp_path)


def test_graphs_that_differ_from_torch_are_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault injected into the exporter: one number of the written decoder is another."""
    from inference.weights.blip import export

    exported = export.export

    def faulty(*arguments: Any) -> None:
        exported(*arguments)
        model = onnx.load(arguments[-1])
        words = next(t for t in model.graph.initializer if set(t.dims) == {len(WORDS) + 2, 32})
        array = onnx.numpy_helper.to_array(words).copy()
        array[:, 0] += 1e-2
        words.CopyFrom(onnx.numpy_helper.from_array(array, words.name))
        onnx.save(model, arguments[-1])

    monkeypatch.setattr(export, "export", faulty)
    with pytest.raises(ConversionMismatchError, match="differ from torch"):
        _import(published, tmp_path)
    assert not (tmp_path / "models").exists()


def test_without_torch_the_message_says_what_to_install(published: Path, tmp_path: Path) -> None:
    """In a process of its own, in which torch cannot be imported."""
    import subprocess
    import sys

    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from inference.weights.blip.importer import import_blip\n"
        f"import_blip(weights=Path({str(published)!r}), name='blip-a', models_dir=Path({str(tmp_path)!r}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'portrait[convert]'" in ended.stderr.splitlines()[-1]
