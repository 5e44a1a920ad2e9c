"""Importing BLIP directories: what is accepted, what it becomes, and what is refused with which words."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
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
from inference.weights.blip.importer import MODEL_FILE, MODEL_SOURCE, default_name, import_blip
from inference.weights.imported import changed_files, read_record
from inference.weights.mini.install import MINIS
from inference.weights.sources import sha256_of
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
    [
        ("blip-image-captioning-base", "blip-image-captioning-base"),
        ("blip_base", "blip-base"),
        ("My Model_2", "blip-my-model-2"),
    ],
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
    """Makes the folder `trace` when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.trace,)


TRACE = "portrait-was-here"


def _malicious(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": _Malicious(folder / TRACE)}, protocol=2))


def _malicious_archive(folder: Path) -> None:
    _as_bin(folder, {**_tensors(folder), "more": _Malicious(folder / TRACE)})


def _archive(change: Callable[[Path], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        _as_bin(folder, _tensors(folder))
        change(folder / "pytorch_model.bin")

    return spoil


def _compressed(path: Path) -> None:
    _rewritten(path, lambda _, data: data, zipfile.ZIP_DEFLATED)


def _rewritten(path: Path, change: Callable[[str, bytes], bytes], way: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", way) as archive:
        for name, data in records.items():
            archive.writestr(name, change(name, data))


def _bomb(path: Path) -> None:
    """Names and shapes, then 200 MB of zeros, in a few hundred kilobytes."""
    _rewritten(path, lambda name, data: data + bytes(200_000_000 if name.endswith("data.pkl") else 0), 8)
    assert path.stat().st_size < 1_000_000


def _long_outline(path: Path) -> None:
    _rewritten(path, lambda name, data: data + bytes(20_000_000 if name.endswith("data.pkl") else 0))


def _understated(path: Path) -> None:
    """The first record of numbers says that it is larger than the file."""
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/0"))
    for offset in (20, 24):  # compressed and real size
        content[place + offset : place + offset + 4] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(content)


def _nested() -> Any:
    return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


def _written(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return spoil


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
    "program": (_malicious, r"\(posix.mkdir\) .* could run code when they are read: refused"),
    "program in archive": (_malicious_archive, r"\(posix.mkdir\) .* could run code when they are read: refused"),
    "web page": (_written("model.safetensors", b"\n<!DOCTYPE html><html>Quota exceeded"), "is a web page, not weights"),
    "pointer": (_written("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid"), "git lfs pull"),
    "bomb": (_archive(_bomb), "was compressed"),
    "compressed": (_archive(_compressed), "was compressed, which PyTorch never does"),
    "long outline": (_archive(_long_outline), "claims to hold more than it can"),
    "understated": (_archive(_understated), "claims to hold more than it can"),
    "meta tensor": (_changed(lambda tensors: tensors.update(a=torch.ones(2, device="meta"))), "'a' .* plain tensors"),
    "sparse tensor": (_changed(lambda tensors: tensors.update(a=torch.ones(2).to_sparse())), "'a' .* plain tensors"),
    "nested tensor": (_changed(lambda tensors: tensors.update(a=_nested())), "'a' .* plain tensors"),
    "complex tensor": (_changed(lambda tensors: tensors.update(a=torch.ones(2) * 1j)), "'a' .* plain tensors"),
    "no name": (_changed(lambda tensors: tensors.update({5: torch.ones(2)})), "'5' .* plain tensors"),  # type: ignore[dict-item]
    "eight bits": (
        _changed(lambda tensors: tensors.update({_QUERY: tensors[_QUERY].to(torch.float8_e4m3fn)})),
        "quantised",
    ),
    "too wide": (_text(hidden_size=65536), "hidden_size is 65536, not a whole number of 1 to 4096"),
    "too many layers": (_vision(num_hidden_layers=65), "num_hidden_layers is 65"),
    "too many words": (_text(vocab_size=1 << 20), "vocab_size"),
    "too few positions": (_text(max_position_embeddings=2), "max_position_embeddings is 2"),
    "too many patches": (_vision(image_size=1024, patch_size=2), "262144 patches"),
    "too large": (
        _vision(hidden_size=4096, intermediate_size=16384, num_hidden_layers=60, num_attention_heads=16),
        "no BLIP is so large",
    ),
    "large config": (_written("config.json", b" " * 2_000_000 + b"{}"), "more than 1048576 bytes"),
    "large vocabulary": (_written("vocab.txt", b"a\n" * 3_000_000), "more than 4194304 bytes"),
    "missing": (_changed(lambda tensors: tensors.pop(_QUERY)), f"missing: {_QUERY}"),
    "unexpected": (_changed(lambda tensors: tensors.update(strange=torch.ones(1))), "unexpected: strange"),
    "shape": (_changed(lambda tensors: tensors.update({_QUERY: torch.ones(32, 31)})), "config.json wants"),
    "integers": (_changed(lambda tensors: tensors.update({_QUERY: torch.ones(32, 32).char()})), "quantised"),
    "not finite": (_changed(lambda tensors: tensors[_QUERY].fill_(float("nan"))), "not finite"),
    "no tensor": (_changed(lambda tensors: tensors.update(epoch=3)), r"'epoch' \(int\) should be plain"),
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
    assert not (folder / TRACE).exists()


@pytest.mark.parametrize(
    "name",
    ["yolact-base", "blip-", "blip-../x", "blip-A", "Blip-a", "blip-a/b", "blip-a.", "blip-a-", "blip-" + 60 * "x"],
)
def test_a_name_that_cannot_be_one_is_refused(name: str, published: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"begins with 'blip-'.*--name"):
        import_blip(weights=published, name=name, models_dir=tmp_path)


def test_a_prompt_that_leaves_no_room_is_refused(published: Path, tmp_path: Path) -> None:
    """Every caption would be: with the usual settings a text has 20 tokens."""
    _import(published, tmp_path, prompt="a " * 18)
    for prompt, told in (("a " * 19, "20 tokens long"), ("a " * 91, "92 tokens long"), ("\udcff", "no text")):
        with pytest.raises(WeightsError, match=told):
            _import(published, tmp_path, prompt=prompt)
    (answer, *_) = _captions(tmp_path / "models" / NAME)
    assert answer is not None


def test_what_the_file_claims_takes_no_memory_before_the_weights_are_seen(folder: Path, tmp_path: Path) -> None:
    """2.4 GB, if the network were built first; in a process of its own, whose peak is looked at."""
    _vision(hidden_size=2048, intermediate_size=8192, num_hidden_layers=12, num_attention_heads=16)(folder)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from inference.weights.blip.importer import import_blip\n"
        "try:\n"
        f"    import_blip(weights=Path({str(folder)!r}), name='blip-a', models_dir=Path({str(tmp_path)!r}))\n"
        "except Exception as error:\n"
        "    print(error)\n"
        # Not ru_maxrss: that begins with what the process had that started this one.
        "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    told, peak_kib = ended.stdout.splitlines()
    assert "do not belong together" in told or "not those of the network" in told
    assert int(peak_kib) < 1_500_000


def test_what_the_vocabulary_calls_the_beginning_is_not_part_of_a_caption(folder: Path, tmp_path: Path) -> None:
    """Some directories list [DEC] and [ENC] in vocab.txt, which are then not beyond it."""
    expected = _captions(_import(folder, tmp_path))
    _words(lambda words: [*words, "[DEC]", "[ENC]"])(folder)
    found = _captions(_import(folder, tmp_path))
    assert found == expected
    assert any(answer and answer.text for answer in found)


def test_a_padding_number_that_nobody_uses_refuses_no_model(folder: Path, tmp_path: Path) -> None:
    _text(pad_token_id=-1)(folder)
    assert _import(folder, tmp_path).is_dir()


def test_all_files_that_decide_are_recorded(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").unlink()
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))
    _import(folder, tmp_path)
    files = read_record(tmp_path / "models", NAME)["origin"]["files"]
    assert files == {
        name: sha256_of(folder / name)
        for name in (
            "config.json", "processor_config.json", "tokenizer_config.json", "vocab.txt", "model.safetensors"
        )
    }  # fmt: skip
    assert json.loads((tmp_path / "models" / NAME / "1" / "blip.json").read_text())["lower_case"] is False


@pytest.mark.parametrize("name", ["写真", "---", "blip", "BLIP_"])
def test_a_directory_whose_name_says_nothing_asks_for_one(name: str, published: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published, tmp_path / name))
    with pytest.raises(WeightsError, match="--name"):
        import_blip(weights=folder, name=None, models_dir=tmp_path / "models")


def test_the_committed_model_has_the_program_that_the_importer_writes() -> None:
    assert (MINIS / "blip-mini" / MODEL_FILE).read_text() == MODEL_SOURCE


def test_the_models_program_finds_inference_by_pythonpath_alone(tmp_path: Path) -> None:
    """As the server starts it: PYTHONPATH is set, but this Python does not read it. What is found says from where."""
    package = tmp_path / "modules" / "inference" / "scenes"
    package.mkdir(parents=True)
    (package / "triton_model.py").write_text("class TritonPythonModel:\n    here = __file__\n")
    (tmp_path / "model.py").write_text(MODEL_SOURCE)
    program = f"import runpy, sys\nprint(runpy.run_path({str(tmp_path / 'model.py')!r})['TritonPythonModel'].here)\n"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", program],  # -I: sys.path knows neither PYTHONPATH nor the working directory
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"/nowhere:{tmp_path / 'modules'}"},
        cwd="/",
    )
    assert ended.stdout.strip() == str(package / "triton_model.py"), ended.stderr


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
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "from inference.weights.blip.importer import import_blip\n"
        f"import_blip(weights=Path({str(published)!r}), name='blip-a', models_dir=Path({str(tmp_path)!r}))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "pip install 'portrait[convert]'" in ended.stderr.splitlines()[-1]
