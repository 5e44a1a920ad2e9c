"""Calibrations of a collection: the command, the API, the threshold as recognition uses it, and erasure."""

import io
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image
from rest_framework.test import APIClient

from portrait.calibration.drawing import GENUINE, IMPOSTOR
from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.core.errors import ConflictError
from portrait.core.models import Scope
from portrait.demo.photos import COLLINS, PhotoSet
from portrait.gallery.models import Collection, EmbeddingModel, Identity, PortraitEmbedding
from portrait.gallery.selectors import calibration_of
from portrait.gallery.services.enrolment import enrol_person
from portrait.gallery.services.identities import delete_identity
from portrait.jobs.models import Job
from portrait.jobs.tasks import run_item
from tests.api_clients import MakeClient, b64
from tests.portrait.calibration.population import enrol, faces, false_match_rate

pytestmark = pytest.mark.django_db
URL = "/api/v1/calibrations"
FMR = 5e-3


@pytest.fixture
def crowd(collection: Collection) -> Collection:
    enrol(collection, faces(120, 3, seed=11))
    return collection


def call(**options: Any) -> str:
    out = io.StringIO()
    call_command("calibrate", stdout=out, **options)
    return out.getvalue()


def colours(png: bytes) -> set[str]:
    rows = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return {"#" + bytes(row).hex() for row in np.unique(rows, axis=0).astype(np.uint8)}


def test_the_command_measures_draws_and_changes_nothing_by_itself(crowd: Collection, tmp_path: Path) -> None:
    told = call(collection=crowd.name, fmr=FMR, png=tmp_path / "curves.png")
    run = CalibrationRun.objects.get()
    assert "Measured: 120 of 120 known people" in told
    assert f"Threshold {run.threshold:.4f}" in told
    assert "wanted 0.5 %" in told
    png = (tmp_path / "curves.png").read_bytes()
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.size[0] > 800
    assert {GENUINE, IMPOSTOR, "#2ca02c"} <= colours(png), "both curves and the threshold"
    crowd.refresh_from_db()
    assert crowd.threshold is None
    low, high = run.report["fmr"]["low"], run.report["fmr"]["high"]
    assert low <= false_match_rate(run.threshold or 0) <= high
    assert run.report["identification"]["comparisons"] > 100


def test_apply_and_revert(crowd: Collection) -> None:
    Collection.objects.filter(pk=crowd.pk).update(threshold=0.7)
    assert "Applied" in call(collection=crowd.name, fmr=FMR, apply=True)
    run = CalibrationRun.objects.get()
    crowd.refresh_from_db()
    assert crowd.threshold == run.threshold
    assert (run.threshold_before, run.in_force) == (0.7, True)
    assert run.actor.startswith("manage.py")
    with pytest.raises(ConflictError, match="already"):
        runs.apply(run=run, actor="x")
    assert "0.7000 again" in call(collection=crowd.name, revert=True)
    crowd.refresh_from_db()
    run.refresh_from_db()
    assert (crowd.threshold, run.in_force) == (0.7, False)
    with pytest.raises(CommandError, match="in force"):
        call(collection=crowd.name, revert=True)


def test_a_threshold_changed_by_hand_since_is_not_reverted_over(crowd: Collection) -> None:
    call(collection=crowd.name, fmr=FMR, apply=True)
    Collection.objects.filter(pk=crowd.pk).update(threshold=0.33)
    with pytest.raises(CommandError, match="changed since"):
        call(collection=crowd.name, revert=True)
    crowd.refresh_from_db()
    assert crowd.threshold == 0.33


def test_only_what_the_collection_decides_by_is_in_force(crowd: Collection) -> None:
    """Each of these was a dead end: said to be in force, neither to be applied again nor to be reverted."""
    first = runs.apply(run=runs.carry_out(run=runs.new_run(collection=crowd, fmr=FMR)), actor="x")
    second = runs.apply(run=runs.carry_out(run=runs.new_run(collection=crowd, fmr=0.05)), actor="x")
    first.refresh_from_db()
    assert (first.in_force, second.in_force) == (False, True)
    with pytest.raises(ConflictError, match="changed since"):
        runs.revert(run=first, actor="x")
    assert runs.apply(run=first, actor="x").in_force, "applied again"
    assert runs.revert(run=first, actor="x").in_force is False
    second.refresh_from_db()
    assert second.in_force, "what was before is back"
    Collection.objects.filter(pk=crowd.pk).update(threshold=0.33)
    second.refresh_from_db()
    assert not second.in_force
    assert runs.apply(run=second, actor="x").threshold_before == 0.33
    other = EmbeddingModel.objects.create(name="o", version="1", dims=16, calibration={"threshold": 0.5, "slope": 9})
    Collection.objects.filter(pk=crowd.pk).update(active_model=other)
    second.refresh_from_db()
    assert not second.in_force
    with pytest.raises(ConflictError, match="another embedding model"):
        runs.revert(run=second, actor="x")


def test_who_is_erased_while_it_is_measured_is_in_no_list_of_pairs(collection: Collection) -> None:
    vectors = faces(60, 3, seed=16)
    vectors[1] = vectors[0] + 0.004
    vectors[3] = vectors[2] + 0.004
    enrol(collection, vectors)
    run = runs.new_run(collection=collection, fmr=0.05)
    outcome = runs.find_out(run=run)
    assert len(outcome[0]["suspects"]) == 2
    key = outcome[0]["suspects"][0]["first"]
    delete_identity(identity=Identity.objects.get(pk=key))
    run = runs.store(run=run, outcome=outcome)
    assert run.state == "done"
    assert len(run.report["suspects"]) == 1
    assert key not in str(run.report)


def test_a_rate_that_the_data_cannot_show_is_refused(crowd: Collection) -> None:
    with pytest.raises(CommandError, match=r"cannot be shown with 120 people.*people would do"):
        call(collection=crowd.name, fmr=2e-4, apply=True)
    run = CalibrationRun.objects.get()
    assert (run.state, run.threshold, bool(run.picture)) == ("refused", None, False)
    with pytest.raises(ConflictError, match="refused"):
        runs.apply(run=run, actor="x")
    crowd.refresh_from_db()
    assert crowd.threshold is None
    with pytest.raises(CommandError, match="rate above 0"):
        call(collection=crowd.name, fmr=0.0)
    with pytest.raises(CommandError, match="no collection"):
        call(collection="nowhere")


def test_only_known_living_people_of_the_collection_count(crowd: Collection, other_collection: Collection) -> None:
    enrol(other_collection, faces(30, 2, seed=12))
    everybody = list(Identity.objects.filter(collection=crowd))
    Identity.objects.filter(pk__in=[each.pk for each in everybody[:5]]).update(kind=Identity.Kind.UNKNOWN)
    PortraitEmbedding.objects.filter(identity__in=everybody[5:8]).update(live=False)
    run = runs.carry_out(run=runs.new_run(collection=crowd, fmr=0.05))
    assert run.report["people"] == {"known": 115, "sampled": 112, "faces": 336}
    assert run.report["pairs"]["genuine"] == 336
    assert run.report["pairs"]["impostor"] == 112 * 111 // 2


def test_groups_of_the_metadata(collection: Collection) -> None:
    metadata: list[dict[str, Any]] = [{"site": "north"}] * 60 + [{"site": "south"}] * 50 + [{"site": ["odd"]}, {}] * 5
    enrol(collection, faces(120, 3, seed=13), metadata)
    told = call(collection=collection.name, fmr=0.02, group_by="site")
    rows = CalibrationRun.objects.get().report["groups"]
    assert [(row["group"], row["people"]) for row in rows] == [("north", 60), ("south", 50)]
    assert "Group 'north' (60 people): false matches within" in told


def test_recognition_decides_by_the_applied_threshold(
    collection: Collection, reader: APIClient, photos: PhotoSet
) -> None:
    """The same photo of an enrolled person is named, or not, by nothing but the threshold of a calibration."""
    enrol_person(collection=collection, name=COLLINS, photos=[photos.people[COLLINS][0].data])
    probe = next(photo for photo in photos.probes if photo.name == "small")

    def named() -> list[str]:
        body = {"image": b64(probe.data), "collection": collection.name}
        (found,) = reader.post("/api/v1/recognize", body).json()["faces"]
        return [each["identity"]["name"] for each in found["candidates"]]

    assert named() == [COLLINS]
    enrol(collection, 0.12 * faces(120, 3, seed=14) / 0.2)  # a crowd that is much nearer to each other
    run = runs.carry_out(run=runs.new_run(collection=collection, fmr=FMR))
    distance = _distance_to_collins(collection, probe.data)
    assert run.threshold is not None
    assert named() == [COLLINS], "measuring alone changes nothing"
    runs.apply(run=run, actor="test")
    collection.refresh_from_db()
    assert calibration_of(collection).threshold == run.threshold
    assert named() == ([COLLINS] if distance <= run.threshold else [])
    low = CalibrationRun.objects.create(
        collection=collection, model=collection.active_model, state="done", threshold=round(distance - 0.01, 5)
    )
    runs.apply(run=low, actor="test")
    assert named() == []
    runs.revert(run=low, actor="test")
    high = CalibrationRun.objects.create(
        collection=collection, model=collection.active_model, state="done", threshold=round(distance + 0.01, 5)
    )
    runs.apply(run=high, actor="test")
    assert named() == [COLLINS]


def _distance_to_collins(collection: Collection, data: bytes) -> float:
    from portrait.gallery.selectors import nearest_identities
    from portrait.gallery.services.photos import analyse

    (face,) = analyse(data)[1].faces
    (found,) = nearest_identities(collection, face.embedding.vector, min_similarity=0)
    assert found.identity.name == COLLINS
    return found.distance


def test_another_embedding_model_meanwhile_is_noticed(crowd: Collection) -> None:
    run = runs.carry_out(run=runs.new_run(collection=crowd, fmr=FMR))
    late = runs.new_run(collection=crowd, fmr=FMR)
    other = EmbeddingModel.objects.create(name="o", version="1", dims=16, calibration={"threshold": 0.5, "slope": 9})
    Collection.objects.filter(pk=crowd.pk).update(active_model=other)
    with pytest.raises(ConflictError, match="another embedding model"):
        runs.apply(run=run, actor="x")
    with pytest.raises(ConflictError, match="another embedding model"):
        runs.carry_out(run=late)


def test_a_calibration_works_with_half_precision(collection: Collection) -> None:
    from portrait.gallery.vectors import stored_values

    half = EmbeddingModel.objects.create(
        name="half", version="1", dims=16, precision="half", calibration={"threshold": 0.5, "slope": 9}
    )
    enrol(collection, faces(60, 2, seed=15))
    for row in PortraitEmbedding.objects.filter(collection=collection):
        values = stored_values(half, np.asarray(row.vector, dtype=np.float32)[:16])
        PortraitEmbedding.objects.create(
            portrait=row.portrait, model=half, collection=collection, identity=row.identity, **values
        )
    single = runs.carry_out(run=runs.new_run(collection=collection, fmr=0.05))
    Collection.objects.filter(pk=collection.pk).update(active_model=half)
    collection.refresh_from_db()
    compact = runs.carry_out(run=runs.new_run(collection=collection, fmr=0.05))
    assert compact.threshold == pytest.approx(single.threshold, abs=1e-3)


def test_the_api_measures_as_a_job_and_applies(admin: APIClient, crowd: Collection) -> None:
    answer = admin.post(URL, {"collection": crowd.name, "fmr": FMR})
    assert answer.status_code == 202
    key = answer.json()["calibration"]
    assert admin.get(f"{URL}/{key}").json()["state"] == "waiting"
    assert admin.get(f"{URL}/{key}/picture").status_code == 404
    assert admin.post(f"{URL}/{key}/apply").status_code == 409
    for item in Job.objects.get(pk=answer.json()["job"]).items.all():
        run_item(item.pk)
        run_item(item.pk)
    told = admin.get(f"{URL}/{key}").json()
    assert (told["state"], told["in_force"], told["collection"]) == ("done", False, crowd.name)
    picture = admin.get(told["picture_url"])
    assert picture["Content-Type"] == "image/png"
    assert GENUINE in colours(b"".join(picture.streaming_content))
    assert admin.post(f"{URL}/{key}/apply").json()["in_force"] is True
    crowd.refresh_from_db()
    assert crowd.threshold == told["threshold"]
    assert admin.post(f"{URL}/{key}/revert").json()["in_force"] is False
    assert [each["id"] for each in admin.get(URL, {"collection": crowd.name}).json()["results"]] == [key]
    assert admin.post(URL, {"collection": crowd.name, "fmr": 2}).status_code == 400
    assert admin.post(URL, {"collection": crowd.name, "rate": 0.1}).status_code == 400


def test_calibrations_are_for_admins_of_the_collection(
    make_client: MakeClient, crowd: Collection, other_collection: Collection
) -> None:
    run = runs.carry_out(run=runs.new_run(collection=crowd, fmr=FMR))
    stranger = make_client(Scope.ADMIN, [other_collection])
    assert stranger.get(URL).json()["results"] == []
    assert stranger.get(f"{URL}/{run.pk}").status_code == 404
    assert stranger.get(f"{URL}/{run.pk}/picture").status_code == 404
    assert stranger.post(f"{URL}/{run.pk}/apply").status_code == 404
    assert stranger.post(URL, {"collection": crowd.name}).status_code == 404
    weaker = make_client(Scope.ENROL, [crowd])
    assert weaker.get(URL).status_code == 403
    assert weaker.post(f"{URL}/{run.pk}/apply").status_code == 403
    crowd.refresh_from_db()
    assert crowd.threshold is None
    assert make_client(Scope.ADMIN, [crowd]).post(f"{URL}/{run.pk}/apply").status_code == 200
    assert stranger.post(f"{URL}/{uuid.uuid4()}/apply").status_code == 404


def test_who_is_erased_is_in_no_list_of_pairs(collection: Collection) -> None:
    vectors = faces(60, 3, seed=16)
    vectors[1] = vectors[0] + 0.004
    vectors[3] = vectors[2] + 0.004
    enrol(collection, vectors)
    run = runs.carry_out(run=runs.new_run(collection=collection, fmr=0.05))
    assert len(run.report["suspects"]) == 2
    gone = Identity.objects.get(pk=run.report["suspects"][0]["first"])
    delete_identity(identity=gone)
    run.refresh_from_db()
    assert len(run.report["suspects"]) == 1
    assert str(gone.pk) not in str(run.report)


def test_the_picture_goes_with_its_run(crowd: Collection, django_capture_on_commit_callbacks: Any) -> None:
    run = runs.carry_out(run=runs.new_run(collection=crowd, fmr=FMR))
    name = run.picture.name
    assert default_storage.exists(name)
    with django_capture_on_commit_callbacks(execute=True):
        run.delete()
    assert not default_storage.exists(name)


def test_the_admin_shows_the_curves(client: Any, admin_user: Any, crowd: Collection) -> None:
    run = runs.carry_out(run=runs.new_run(collection=crowd, fmr=FMR))
    client.force_login(admin_user)
    page = client.get(f"/admin/calibration/calibrationrun/{run.pk}/change/").content.decode()
    assert "data:image/png;base64," in page
    assert "wanted 0.5 %" in page
    body = {"action": "apply", "_selected_action": [str(run.pk)], "sure": "1"}
    client.post("/admin/calibration/calibrationrun/", body)
    crowd.refresh_from_db()
    assert crowd.threshold == run.threshold
