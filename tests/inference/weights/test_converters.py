"""Converted networks beside the published ones, and what only the converted ones can do."""

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from inference.errors import ConversionMismatchError, WeightsError
from inference.weights.check import check_against_references, check_against_source, check_signature, run_model
from inference.weights.convert import load_onnx
from inference.weights.converters import dlib_resnet, ultraface
from inference.weights.dlib_dat import DatNetwork
from inference.weights.graph import real_inputs
from inference.weights.manifest import Manifest
from inference.weights.references import probe_pictures, read_references, views
from tests.inference.weights.conftest import converted, source_of

DETECTORS = ("centerface", "yunet", "ultraface")


def spoiled(model: ModelProto) -> ModelProto:
    """The model with one of its largest constant's numbers changed."""
    copy = ModelProto()
    copy.CopyFrom(model)
    largest = max(copy.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = numpy_helper.to_array(largest).copy()
    values.ravel()[: values.size // 2] *= 1.05
    largest.CopyFrom(numpy_helper.from_array(values, largest.name))
    return copy


def test_the_embedder_gives_dlibs_own_vectors(manifest: Manifest) -> None:
    references = read_references()

    embeddings = run_model(converted("dlib_resnet"), {"image": views(references.chips)})["embedding"]

    assert np.abs(embeddings - references.embeddings).max() < 2e-6


def test_the_references_hold_two_people_and_know_them_apart() -> None:
    collins, hopper, collins_mirrored, hopper_mirrored = read_references().embeddings[:4]

    assert np.linalg.norm(collins - hopper) > 0.6
    assert np.linalg.norm(collins - collins_mirrored) < 0.6
    assert np.linalg.norm(hopper - hopper_mirrored) < 0.6


def test_the_stored_references_are_what_dlib_says_today() -> None:
    pytest.importorskip("dlib", reason="dlib is not installed")
    from inference.weights.make_references import embeddings_of

    references = read_references()

    np.testing.assert_allclose(embeddings_of(references.chips), references.embeddings[:2], atol=1e-5)


def test_a_batch_of_faces_gives_what_each_gives_alone() -> None:
    chips = views(read_references().chips)

    together = run_model(converted("dlib_resnet"), {"image": chips})["embedding"]

    alone = [run_model(converted("dlib_resnet"), {"image": chip[None]})["embedding"][0] for chip in chips[:3]]
    np.testing.assert_allclose(together[:3], alone, atol=1e-6)


@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_gives_the_published_heads(manifest: Manifest, name: str) -> None:
    check_against_source(converted(name), load_onnx(source_of(name)), manifest[name])


@pytest.mark.parametrize("name", DETECTORS)
def test_another_detector_is_noticed(manifest: Manifest, name: str) -> None:
    with pytest.raises(ConversionMismatchError, match=rf"{name}\.\w+ differs"):
        check_against_source(spoiled(converted(name)), load_onnx(source_of(name)), manifest[name])


def test_another_embedder_is_noticed(manifest: Manifest) -> None:
    with pytest.raises(ConversionMismatchError, match=r"dlib_resnet\.embedding differs"):
        check_against_references(spoiled(converted("dlib_resnet")), manifest["dlib_resnet"])


@pytest.mark.parametrize("name", [*DETECTORS, "dlib_resnet"])
def test_inputs_and_outputs_are_the_manifests(manifest: Manifest, name: str) -> None:
    model = converted(name)

    check_signature(model, manifest[name])
    (image,) = real_inputs(model.graph)
    assert image.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert len(model.graph.input) == 1, "constants among the inputs stop constant folding"


def test_a_missing_output_is_noticed(manifest: Manifest) -> None:
    model = ModelProto()
    model.CopyFrom(converted("centerface"))
    del model.graph.output[-1]

    with pytest.raises(ConversionMismatchError, match="outputs"):
        check_signature(model, manifest["centerface"])


@pytest.mark.parametrize(("height", "width"), [(160, 320), (256, 320), (384, 640)])
def test_centerface_finds_both_faces_at_any_size(height: int, width: int) -> None:
    pictures = probe_pictures(height, width)

    heads = run_model(converted("centerface"), {"image": pictures})

    channels = {"heatmap": 1, "scale": 2, "offset": 2, "landmarks": 10}
    assert {name: head.shape for name, head in heads.items()} == {
        name: (2, count, height // 4, width // 4) for name, count in channels.items()
    }
    left, right = np.split(heads["heatmap"][:, 0], 2, axis=2)
    assert left.max(axis=(1, 2)).min() > 0.5
    assert right.max(axis=(1, 2)).min() > 0.5


@pytest.mark.parametrize(("height", "width"), [(240, 320), (200, 310), (301, 400)])
def test_ultraface_finds_the_faces_at_sizes_its_publisher_did_not_foresee(height: int, width: int) -> None:
    heads = run_model(converted("ultraface"), {"image": probe_pictures(height, width)})

    scores, boxes = heads["scores"][0, :, 1], heads["boxes"][0] * [width, height, width, height]
    found = boxes[scores > 0.9]
    middles = (found[:, :2] + found[:, 2:]) / 2
    for middle in ((width / 2 - 75, height / 2), (width / 2 + 75, height / 2)):
        assert np.abs(middles - middle).max(axis=1).min() < 20


@pytest.mark.parametrize(("height", "width"), [(160, 320), (384, 640)])
def test_yunets_cells_follow_the_size(height: int, width: int) -> None:
    heads = run_model(converted("yunet"), {"image": probe_pictures(height, width)})

    for stride in (8, 16, 32):
        cells = (height // stride) * (width // stride)
        assert heads[f"cls_{stride}"].shape == (2, cells, 1)
        assert heads[f"kps_{stride}"].shape == (2, cells, 10)
    assert max((heads[f"cls_{stride}"] * heads[f"obj_{stride}"]).max() for stride in (8, 16, 32)) > 0.5


def test_another_network_is_not_taken_for_dlibs(manifest: Manifest) -> None:
    with pytest.raises(WeightsError, match="not dlib's face recognition network"):
        dlib_resnet.convert(DatNetwork(mean=(0, 0, 0), rows=150, columns=150, layers=()), manifest["dlib_resnet"])


def test_another_network_is_not_taken_for_ultraface(manifest: Manifest) -> None:
    with pytest.raises(WeightsError, match="not the published UltraFace"):
        ultraface.convert(load_onnx(source_of("centerface")), manifest["ultraface"])
