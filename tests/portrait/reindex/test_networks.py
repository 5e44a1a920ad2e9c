"""A collection goes to another network: a second one in the real Triton, with chips of its own."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from django.conf import settings as django_settings
from django.db import transaction
from onnx import helper, numpy_helper

from inference.config import DLIB_RESNET, EMBEDDERS
from portrait.core import pipelines
from portrait.core.pipelines import inference_client
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.gallery.services import spaces
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.recognition import recognise
from portrait.gallery.vectors import NotEmbeddedError, stored_vector
from portrait.reindex.live import Watcher
from portrait.reindex.services.filling import Filled, Wanted, fill
from portrait.sightings.models import DetectionEmbedding
from portrait.sightings.services import timeline
from tests.portrait.sightings import scenes, seen

pytestmark = pytest.mark.django_db
NAME, DIMS = "second_network", 96
# The face a little smaller in the chip: other pixels, so other vectors.
TEMPLATE = tuple((75 + 0.94 * (x - 75), 75 + 0.94 * (y - 75)) for x, y in DLIB_RESNET.template)
SPEC = replace(DLIB_RESNET, name=NAME, dims=DIMS, template=TEMPLATE)


@pytest.fixture
def second(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddingModel]:
    """dlib's network with its last 128 numbers turned into 96, served by the suite's Triton."""
    served: Path = django_settings.PORTRAIT.var / "triton" / "models"
    if not served.is_dir():
        pytest.skip("TRITON_URL is set: the server's repository is not at hand")
    folder = served / NAME
    (folder / "1").mkdir(parents=True)
    _write_network(
        django_settings.PORTRAIT.models_dir / "dlib_resnet" / "1" / "model.onnx", folder / "1" / "model.onnx"
    )
    config = (served / "dlib_resnet" / "config.pbtxt").read_text()
    (folder / "config.pbtxt").write_text(config.replace('"dlib_resnet"', f'"{NAME}"').replace("128", str(DIMS)))
    inference_client().load(NAME)
    monkeypatch.setitem(EMBEDDERS, NAME, SPEC)
    pipelines.embedder.cache_clear()
    yield EmbeddingModel.objects.create(name=NAME, version="1", dims=DIMS, calibration=asdict(DLIB_RESNET.calibration))
    pipelines.embedder.cache_clear()
    inference_client().unload(NAME)
    shutil.rmtree(folder)


def _write_network(source: Path, target: Path) -> None:
    network = onnx.load(source)
    axes = np.linalg.qr(np.random.default_rng(5).normal(size=(128, 128)))[0][:, :DIMS] * np.sqrt(128 / DIMS)
    (output,) = network.graph.output
    network.graph.initializer.append(numpy_helper.from_array(axes.astype(np.float32), "further_axes"))
    network.graph.node.append(helper.make_node("MatMul", [output.name, "further_axes"], ["further"]))
    network.graph.node.append(helper.make_node("Identity", ["further"], ["second"]))
    before = output.name
    for node in network.graph.node:  # the answer keeps its name
        node.input[:] = ["inner" if name == before else name for name in node.input]
        node.output[:] = ["inner" if name == before else before if name == "second" else name for name in node.output]
    output.type.tensor_type.shape.dim[1].dim_value = DIMS
    onnx.save(network, target)


def test_a_collection_goes_to_another_network(collection: Collection, second: EmbeddingModel) -> None:
    first = collection.active_model
    person, _, _ = enrol_person(collection=collection, name="Eileen", photos=[seen.pictures()["collins"]])
    camera = seen.make_camera(collection)
    seen.see(seen.make_frame(camera, "collins"), "collins", [person])
    collection.kept_models.add(second)
    assert spaces.networks_of([collection.pk]) == {"dlib_resnet", NAME}
    assert fill(Wanted(collection.pk, second, other=first)) == Filled(made=2, impossible=0)
    other, _, _ = enrol_person(collection=collection, name="Grace", photos=[seen.pictures()["hopper"]])
    rows = PortraitEmbedding.objects.filter(identity=other)
    assert {row.model_id: stored_vector(row).shape for row in rows} == {first.pk: (128,), second.pk: (DIMS,)}
    collection.kept_models.add(first)
    Collection.objects.filter(pk=collection.pk).update(active_model=second)
    now = Collection.objects.select_related("active_model").get(pk=collection.pk)
    found = {
        name: [
            each.identity.name
            for face in recognise(collection=now, data=seen.pictures()[name])
            for each in face.candidates
        ]
        for name in (seen.FLIPPED, "hopper", seen.BOTH)
    }
    assert found == {seen.FLIPPED: ["Eileen"], "hopper": ["Grace"], seen.BOTH: found[seen.BOTH]}
    assert set(found[seen.BOTH]) == {"Eileen", "Grace"}
    assert DetectionEmbedding.objects.filter(model=second).count() == 1


def test_faces_that_the_network_did_not_see_are_not_stored_by_halves(
    collection: Collection, second: EmbeddingModel
) -> None:
    """The collection changed after the networks looked: the frame waits, and is looked at again."""
    camera = scenes.make_camera(collection, "door")
    with pytest.raises(NotEmbeddedError, match=NAME), transaction.atomic():
        timeline.lock(camera.pk)
        frames = scenes.seen_frames(camera, [(0.0, [scenes.Visible(0, 100.0)])])
        timeline.record(camera=camera, model=collection.active_model, seen=frames, kept=[second])
    assert not DetectionEmbedding.objects.filter(camera=camera).exists()


def test_only_others_than_embedders_make_it_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real server's counts: an embedder's work is our own, a detector's is somebody's who waits."""
    monkeypatch.setattr("portrait.reindex.live.LOOK_EVERY_S", 0.0)
    watcher = Watcher(inference_client().served)
    chip = np.zeros((1, 150, 150, 3), np.uint8)
    assert not watcher.busy()
    inference_client().infer("dlib_resnet", {"image": chip}, ["embedding"], deadline_s=10)
    assert not watcher.busy()
    picture = np.zeros((1, 64, 64, 3), np.uint8)
    inference_client().infer("centerface", {"image": picture}, _outputs_of("centerface"), deadline_s=10)
    assert watcher.busy()


def _outputs_of(model: str) -> list[str]:
    network = onnx.load(django_settings.PORTRAIT.models_dir / model / "1" / "model.onnx")
    return [output.name for output in network.graph.output]
