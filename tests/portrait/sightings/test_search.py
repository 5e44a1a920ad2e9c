"""`/search`: one picture in, a timeline out."""

import uuid
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import connection
from django.db.models.functions import Cast
from django.test.utils import CaptureQueriesContext
from pgvector.django import L2Distance, VectorField
from rest_framework.test import APIClient

from portrait.core.models import Scope
from portrait.core.services import create_api_key
from portrait.gallery.models import Collection, Identity
from portrait.sightings import selectors
from portrait.sightings.models import Detection, DetectionEmbedding
from portrait.sightings.selectors import nearest_exemplars
from portrait.sightings.services import search as service
from tests.api_clients import MakeClient, b64, plain_jpeg
from tests.portrait.sightings import seen
from tests.portrait.sightings.seen import BOTH, FLIPPED, NOON, SMALL, STRANGER

pytestmark = pytest.mark.django_db


def ask(client: APIClient, picture: str, status: int = 200, **values: Any) -> Any:
    answer = client.post("/api/v1/search", {"image": b64(seen.pictures()[picture]), **values}, format="json")
    assert answer.status_code == status, answer.content
    return answer.json()


@pytest.fixture
def nobody(collection: Collection) -> Identity:
    """An unknown person, without any portrait: only faces of cameras say how they look."""
    return Identity.objects.create(collection=collection, name="unknown_person_1", kind=Identity.Kind.UNKNOWN)


def test_a_photo_finds_when_and_where_a_person_was(reader: APIClient, collection: Collection) -> None:
    collins = seen.enrol(collection, "Eileen", "collins")
    hopper = seen.enrol(collection, "Grace", "hopper")
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    first = seen.seen_once(door, "collins", collins, NOON)
    seen.seen_once(door, "hopper", hopper, NOON + timedelta(minutes=1))
    second = seen.seen_once(yard, FLIPPED, collins, NOON + timedelta(minutes=2))
    answer = ask(reader, SMALL, collection=collection.name)
    assert [row["id"] for row in answer["sightings"]] == [str(second.id), str(first.id)]
    assert [row["identity"]["name"] for row in answer["identities"]] == ["Eileen"]
    assert all(row["similarity"] >= 0.5 for row in answer["sightings"])
    assert answer["sightings"][0]["camera"] == {"id": str(yard.id), "name": "yard"}
    assert (answer["faces"], answer["more"]) == ([], False)
    assert answer["face"]["box"] == seen.faces(SMALL)[0].box.as_list()


def test_matched_by_names_what_the_similarity_is_of(reader: APIClient, collection: Collection) -> None:
    hopper = seen.enrol(collection, "Grace", "hopper")
    camera = seen.make_camera(collection)
    row = seen.seen_once(camera, "dark", hopper)
    (by_face,) = ask(reader, "dark", collection=collection.name)["sightings"]
    (by_portrait,) = ask(reader, "hopper", collection=collection.name)["sightings"]
    assert by_face["id"] == by_portrait["id"] == str(row.id)
    assert (by_face["matched_by"], by_portrait["matched_by"]) == ("face", "identity")
    (alike,) = ask(reader, "hopper", collection=collection.name)["identities"]
    assert by_portrait["similarity"] == alike["similarity"]


def test_unknown_people_are_found_by_what_cameras_saw(
    reader: APIClient, collection: Collection, nobody: Identity
) -> None:
    row = seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    answer = ask(reader, STRANGER, collection=collection.name)
    assert [(each["id"], each["matched_by"]) for each in answer["sightings"]] == [(str(row.id), "face")]
    assert answer["identities"] == []
    assert ask(reader, "hopper", collection=collection.name)["sightings"] == []


def test_a_sighting_without_a_face_that_is_kept_is_found_by_the_portrait(
    reader: APIClient, collection: Collection
) -> None:
    hopper = seen.enrol(collection, "Grace", "hopper")
    row = seen.seen_once(seen.make_camera(collection), "hopper", hopper)
    Detection.objects.all().delete()
    (found,) = ask(reader, "dark", collection=collection.name)["sightings"]
    assert (found["id"], found["matched_by"], found["best"]) == (str(row.id), "identity", None)


def test_by_camera_time_and_kind(reader: APIClient, collection: Collection, nobody: Identity) -> None:
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    hopper = seen.enrol(collection, "Grace", "hopper")
    known = seen.seen_once(door, "hopper", hopper, NOON)
    unknown = seen.seen_once(yard, "hopper", nobody, NOON + timedelta(hours=1))
    one, two = str(known.id), str(unknown.id)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({}, [two, one]),
        ({"cameras": [str(door.id)]}, [one]),
        ({"cameras": [str(door.id), str(yard.id)]}, [two, one]),
        ({"since": "2026-03-01T12:30:00Z"}, [two]),
        ({"until": "2026-03-01T12:30:00Z"}, [one]),
        ({"since": "2026-03-01T12:10:00Z", "until": "2026-03-01T12:30:00Z"}, []),
        ({"kind": "known"}, [one]),
        ({"kind": "unknown"}, [two]),
    ]
    for values, expected in cases:
        found = ask(reader, "hopper", collection=collection.name, **values)["sightings"]
        assert (values, [row["id"] for row in found]) == (values, expected)


def test_faces_of_no_sighting_are_told_apart(reader: APIClient, collection: Collection) -> None:
    camera = seen.make_camera(collection)
    frame = seen.make_frame(camera, BOTH)
    _, right = seen.see(frame, BOTH, [None, None])
    answer = ask(reader, "hopper", collection=collection.name)
    (face,) = answer["faces"]
    assert answer["sightings"] == []
    assert (face["frame"], face["detection"], face["box"]) == (frame.id, right.id, right.box)
    assert (face["camera"]["name"], face["identity"]) == ("door", None)
    assert face["captured_at"] == "2026-03-01T12:00:00Z"
    assert face["similarity"] >= 0.5
    assert ask(reader, "hopper", collection=collection.name, kind="known")["faces"] == []


def test_a_track_is_one_face(reader: APIClient, collection: Collection) -> None:
    camera = seen.make_camera(collection)
    rows = [
        face
        for index in range(3)
        for face in seen.see(seen.make_frame(camera, "hopper", NOON + timedelta(seconds=index)), "hopper", [None])
    ]
    Detection.objects.filter(pk__in=[row.pk for row in rows]).update(track=rows[0].track)
    assert len(ask(reader, "hopper", collection=collection.name)["faces"]) == 1


def test_only_the_most_similar_places_are_given_away_and_the_answer_says_so(
    reader: APIClient, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read on where one sighting's many faces fill the first rows."""
    monkeypatch.setattr(service, "FIRST_ROWS", 3)
    camera = seen.make_camera(collection)
    hopper = Identity.objects.create(collection=collection, name="Grace")
    often = seen.seen_once(camera, "hopper", hopper, NOON, seconds=100)
    for second in range(1, 9):
        seen.see(seen.make_frame(camera, "hopper", NOON + timedelta(seconds=second)), "hopper", [hopper])
    once = seen.seen_once(camera, "recompressed at quality 12", hopper, NOON + timedelta(hours=1))
    answer = ask(reader, "hopper", collection=collection.name)
    assert [row["id"] for row in answer["sightings"]] == [str(once.id), str(often.id)]
    answer = ask(reader, "hopper", collection=collection.name, top_k=1)
    assert [row["id"] for row in answer["sightings"]] == [str(often.id)]
    assert answer["more"] is True


def test_the_index_finds_what_the_scan_finds(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = seen.make_camera(collection)
    (face,) = seen.see(seen.make_frame(camera, "hopper"), "hopper", [None])
    model, generator = collection.active_model, np.random.default_rng(1)
    own = seen.faces("hopper")[0].embedding.vector
    others = Detection.objects.bulk_create(
        Detection(
            frame=face.frame, camera=camera, captured_at=NOON, box=[0, 0, 1, 1], score=1, quality={}, quality_score=1,
            acceptable=True,
        )
        for _ in range(400)
    )  # fmt: skip
    DetectionEmbedding.objects.bulk_create(
        DetectionEmbedding(
            detection=row,
            model=model,
            collection=collection,
            camera=camera,
            captured_at=NOON,
            exemplar=index % 2 == 0,
            vector=own + generator.normal(0, 0.05, model.dims).astype(np.float32),
        )
        for index, row in enumerate(others)
    )
    scope = selectors.Scope(collection, frozenset([camera.id]), NOON - timedelta(1), NOON + timedelta(1))
    exact = nearest_exemplars(scope, own, 20)
    monkeypatch.setattr(selectors, "EXACT_BELOW", 10)
    with CaptureQueriesContext(connection) as queries:
        walked = nearest_exemplars(scope, own, 20)
    assert any("max_scan_tuples" in query["sql"] for query in queries)
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('enable_sort')")
        assert cursor.fetchone() == ("on",), "the caller's transaction goes on as it was"
    assert exact[0] == (face.pk, pytest.approx(0, abs=1e-5))
    assert [key for key, _ in walked] == [key for key, _ in exact]
    quiet = {row.pk for index, row in enumerate(others) if index % 2}
    assert not quiet & {key for key, _ in nearest_exemplars(scope, own, 500)}
    assert nearest_exemplars(selectors.Scope(collection, frozenset([uuid.uuid4()])), own, 20) == []


def test_the_index_serves_the_search(collection: Collection) -> None:
    """Its condition and its expression are those of the query, or PostgreSQL would never take it."""
    model = collection.active_model
    rows = DetectionEmbedding.objects.filter(model_id=model.pk, exemplar=True).annotate(
        distance=L2Distance(Cast("vector", VectorField(dimensions=model.dims)), np.zeros(model.dims, dtype=np.float32))
    )
    with connection.cursor() as cursor:
        # An empty table is read in no time by any index: without sorting only this one gives the order.
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("SET LOCAL enable_sort = off")
    assert f"detectionembedding_hnsw_{model.pk}" in rows.order_by("distance")[:5].explain()


def test_an_empty_collection_has_seen_nobody(reader: APIClient, collection: Collection) -> None:
    answer = ask(reader, "hopper", collection=collection.name)
    assert (answer["identities"], answer["sightings"], answer["faces"], answer["more"]) == ([], [], [], False)


def test_which_face_is_meant(reader: APIClient, collection: Collection) -> None:
    hopper = seen.enrol(collection, "Grace", "hopper")
    row = seen.seen_once(seen.make_camera(collection), "hopper", hopper)
    error = ask(reader, BOTH, 422, collection=collection.name)["error"]
    assert (error["code"], len(error["faces"])) == ("several_faces", 2)
    box = ",".join(str(value) for value in seen.faces(BOTH)[1].box.as_list())
    assert ask(reader, BOTH, collection=collection.name, face=box)["sightings"][0]["id"] == str(row.id)
    assert ask(reader, BOTH, collection=collection.name, face="largest")["face"]["box"] in [
        face.box.as_list() for face in seen.faces(BOTH)
    ]
    assert ask(reader, "a cup of coffee", 422, collection=collection.name)["error"]["code"] == "no_face"
    for wrong in ("biggest", "1,2,3", "1,2,-3,4"):
        assert ask(reader, BOTH, 400, face=wrong)["error"]["field"] == "face"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"min_similarity": 0.29}, "min_similarity"),
        ({"min_similarity": 1.1}, "min_similarity"),
        ({"top_k": 0}, "top_k"),
        ({"top_k": 501}, "top_k"),
        ({"since": "x"}, "since"),
        ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "since"),
        ({"cameras": ["x"]}, "cameras"),
        ({"kind": "robot"}, "kind"),
        ({"image": "%%%"}, "image"),
        ({"image": None}, "image"),
    ],
)
def test_what_cannot_be_asked_is_named(reader: APIClient, values: dict[str, Any], field: str) -> None:
    body = {"image": b64(plain_jpeg())} | values
    answer = reader.post("/api/v1/search", body, format="json")
    assert (answer.status_code, answer.json()["error"]["field"].partition(".")[0]) == (400, field)


def test_never_another_collection(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    foreign = seen.enrol(other_collection, "Foreign", "hopper")
    camera = seen.make_camera(other_collection)
    seen.seen_once(camera, "hopper", foreign)
    seen.see(seen.make_frame(camera, "hopper", NOON + timedelta(hours=2)), "hopper", [None])
    client = make_client(Scope.READ, [collection])
    answer = ask(client, "hopper")
    assert (answer["identities"], answer["sightings"], answer["faces"]) == ([], [], [])
    ask(client, "hopper", 404, collection=other_collection.name)
    ask(client, "hopper", 404, cameras=[str(camera.id)])
    everywhere = make_client(Scope.READ)
    error = ask(everywhere, "hopper", 404, collection=collection.name, cameras=[str(camera.id)])["error"]
    assert error["code"] == "not_found"
    assert len(ask(everywhere, "hopper", collection=other_collection.name)["sightings"]) == 1


def test_a_cameras_key_finds_what_its_camera_saw(collection: Collection) -> None:
    hopper, collins = seen.enrol(collection, "Grace", "hopper"), seen.enrol(collection, "Eileen", "collins")
    door, yard = seen.make_camera(collection), seen.make_camera(collection, "yard")
    mine = seen.seen_once(door, "hopper", hopper)
    seen.seen_once(yard, "hopper", hopper)
    seen.seen_once(yard, "collins", collins)
    _, key = create_api_key(name="door", scope=Scope.READ, collection_ids=[collection.id], camera_ids=[door.id])
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    assert [row["id"] for row in ask(client, "hopper")["sightings"]] == [str(mine.id)]
    answer = ask(client, "collins")
    assert (answer["identities"], answer["sightings"], answer["faces"]) == ([], [], [])
    ask(client, "hopper", 404, cameras=[str(yard.id)])


def test_a_new_name_is_found_under_the_old_face(enroller: APIClient, collection: Collection, nobody: Identity) -> None:
    seen.seen_once(seen.make_camera(collection), STRANGER, nobody)
    enroller.patch(f"/api/v1/identities/{nobody.id}", {"name": "Mia"}, format="json")
    (row,) = ask(enroller, STRANGER, collection=collection.name)["sightings"]
    assert (row["identity"]["name"], row["identity"]["kind"]) == ("Mia", "known")
