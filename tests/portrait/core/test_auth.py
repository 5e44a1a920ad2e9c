"""Every way in, tried from outside: no key, wrong key, wrong scope, other collection."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import get_resolver, resolve
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.cameras.models import Camera, Frame
from portrait.core.models import ApiKey, Scope
from portrait.core.services import create_api_key, revoke_api_keys
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.jobs.models import Job
from portrait.privacy.models import ErasureProof, RetentionRule, SubjectExport
from portrait.sightings.models import Alert, Sighting, Watch
from tests.api_clients import MakeClient, b64, plain_jpeg

pytestmark = pytest.mark.django_db

SOME_ID = "00000000-0000-4000-8000-000000000000"
READ_CALLS = [
    ("get", "/api/v1/imports"),
    ("get", f"/api/v1/imports/{SOME_ID}"),
    ("get", f"/api/v1/imports/{SOME_ID}/results"),
    ("get", f"/api/v1/imports/{SOME_ID}/results.csv"),
    ("post", "/api/v1/detect"),
    ("post", "/api/v1/verify"),
    ("post", "/api/v1/recognize"),
    ("get", "/api/v1/collections"),
    ("get", "/api/v1/collections/default"),
    ("get", "/api/v1/identities"),
    ("get", f"/api/v1/identities/{SOME_ID}"),
    ("get", f"/api/v1/identities/{SOME_ID}/portraits"),
    ("get", f"/api/v1/identities/{SOME_ID}/naming"),
    ("get", "/api/v1/changes"),
    ("get", "/api/v1/changes/1"),
    ("get", f"/api/v1/portraits/{SOME_ID}"),
    ("get", f"/api/v1/portraits/{SOME_ID}/image"),
    ("get", f"/api/v1/portraits/{SOME_ID}/thumbnail"),
    ("get", "/api/v1/cameras"),
    ("get", f"/api/v1/cameras/{SOME_ID}"),
    ("get", "/api/v1/backlog"),
    ("get", "/api/v1/metrics"),
    ("get", "/api/v1/jobs"),
    ("get", f"/api/v1/jobs/{SOME_ID}"),
    ("post", "/api/v1/search"),
    ("get", "/api/v1/sightings"),
    ("get", f"/api/v1/sightings/{SOME_ID}"),
    ("get", f"/api/v1/sightings/{SOME_ID}/picture"),
    ("get", "/api/v1/frames"),
    ("get", "/api/v1/frames/1"),
    ("get", "/api/v1/frames/1/picture"),
    ("get", "/api/v1/frames/1/annotated"),
    ("get", "/api/v1/watches"),
    ("get", f"/api/v1/watches/{SOME_ID}"),
    ("get", "/api/v1/alerts"),
    ("get", "/api/v1/alerts/1"),
    ("post", "/api/v1/caption"),
    ("post", "/api/v1/segment"),
    ("get", "/api/v1/captions"),
    ("get", "/api/v1/objects"),
    ("get", "/api/v1/frames/1/scene"),
    ("get", f"/api/v1/portraits/{SOME_ID}/scene"),
    ("get", f"/api/v1/cameras/{SOME_ID}/scenes"),
    ("get", "/api/v1/models"),
    ("get", "/api/v1/suggestions"),
    ("get", f"/api/v1/suggestions/{SOME_ID}"),
    ("get", "/api/v1/embedding-models"),
    ("get", "/api/v1/privacy/key"),
]
ENROL_CALLS = [
    ("post", "/api/v1/imports"),
    ("post", "/api/v1/identities"),
    ("patch", f"/api/v1/identities/{SOME_ID}"),
    ("delete", f"/api/v1/identities/{SOME_ID}"),
    ("post", f"/api/v1/identities/{SOME_ID}/portraits"),
    ("delete", f"/api/v1/portraits/{SOME_ID}"),
    ("post", f"/api/v1/portraits/{SOME_ID}/restore"),
    ("post", f"/api/v1/identities/{SOME_ID}/restore"),
    ("post", f"/api/v1/identities/{SOME_ID}/merge"),
    ("post", f"/api/v1/identities/{SOME_ID}/split"),
    ("post", f"/api/v1/identities/{SOME_ID}/reject"),
    ("post", f"/api/v1/sightings/{SOME_ID}/move"),
    ("post", "/api/v1/changes/1/undo"),
    ("post", f"/api/v1/cameras/{SOME_ID}/frames"),
    ("post", f"/api/v1/jobs/{SOME_ID}/cancel"),
    ("post", f"/api/v1/jobs/{SOME_ID}/retry"),
    ("delete", f"/api/v1/sightings/{SOME_ID}"),
    ("post", "/api/v1/watches"),
    ("patch", f"/api/v1/watches/{SOME_ID}"),
    ("delete", f"/api/v1/watches/{SOME_ID}"),
    ("post", "/api/v1/alerts/1/acknowledge"),
    ("post", "/api/v1/suggestions/scan"),
    ("post", f"/api/v1/suggestions/{SOME_ID}/confirm"),
    ("post", f"/api/v1/suggestions/{SOME_ID}/reject"),
    ("post", f"/api/v1/suggestions/{SOME_ID}/name"),
    ("post", f"/api/v1/suggestions/{SOME_ID}/undo"),
]
ADMIN_CALLS = [
    ("get", "/api/v1/calibrations"),
    ("post", "/api/v1/calibrations"),
    ("get", f"/api/v1/calibrations/{SOME_ID}"),
    ("get", f"/api/v1/calibrations/{SOME_ID}/picture"),
    ("post", f"/api/v1/calibrations/{SOME_ID}/apply"),
    ("post", f"/api/v1/calibrations/{SOME_ID}/revert"),
    ("get", "/api/v1/collections/default/export"),
    ("get", "/api/v1/audit"),
    ("post", f"/api/v1/identities/{SOME_ID}/export"),
    ("post", f"/api/v1/identities/{SOME_ID}/erase"),
    ("get", "/api/v1/subject-exports"),
    ("get", f"/api/v1/subject-exports/{SOME_ID}"),
    ("get", f"/api/v1/subject-exports/{SOME_ID}/file"),
    ("get", "/api/v1/erasure-proofs"),
    ("get", f"/api/v1/erasure-proofs/{SOME_ID}"),
    ("get", "/api/v1/retention-rules"),
    ("post", "/api/v1/retention-rules"),
    ("delete", f"/api/v1/retention-rules/{SOME_ID}"),
    ("post", "/api/v1/collections"),
    ("patch", "/api/v1/collections/default"),
    ("delete", "/api/v1/collections/default"),
    ("post", "/api/v1/cameras"),
    ("patch", f"/api/v1/cameras/{SOME_ID}"),
    ("delete", f"/api/v1/cameras/{SOME_ID}"),
    ("put", f"/api/v1/cameras/{SOME_ID}/scenes"),
    ("post", "/api/v1/models/blip-mini/load"),
    ("post", "/api/v1/models/blip-mini/unload"),
    ("get", "/api/v1/reindexes"),
    ("post", "/api/v1/reindexes"),
    ("get", f"/api/v1/reindexes/{SOME_ID}"),
    ("post", f"/api/v1/reindexes/{SOME_ID}/switch"),
    ("post", f"/api/v1/reindexes/{SOME_ID}/rollback"),
    ("post", f"/api/v1/reindexes/{SOME_ID}/retire"),
    ("post", f"/api/v1/reindexes/{SOME_ID}/abandon"),
]
ALL_CALLS = READ_CALLS + ENROL_CALLS + ADMIN_CALLS


def _plain(route: str) -> str:
    """A route without its groups and anchors."""
    return re.sub(r"\(\?P<[^)]*\)|<[^>]*>", "{}", route).translate(str.maketrans("", "", "^$")).replace("\\Z", "")


def _v1_routes(patterns: list[Any], prefix: str = "") -> set[str]:
    found = set()
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if hasattr(pattern, "url_patterns"):
            found |= _v1_routes(pattern.url_patterns, route)
        elif route.startswith("api/v1/"):
            found.add(_plain(route))
    return found


def test_the_lists_above_cover_every_address_of_the_api() -> None:
    covered = {_plain(str(resolve(path).route)) for _, path in ALL_CALLS}
    assert _v1_routes(get_resolver().url_patterns) == covered


@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_no_key_no_answer(method: str, path: str) -> None:
    answer = getattr(APIClient(), method)(path)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"] == "Api-Key"


@pytest.mark.parametrize("header", ["Api-Key nonsense", "Api-Key ", "Api-Key", "Bearer x", "Basic YTpi", "\x00"])
def test_a_wrong_key_opens_nothing(header: str) -> None:
    assert APIClient(HTTP_AUTHORIZATION=header).get("/api/v1/identities").status_code == 401


def test_a_revoked_key_opens_nothing() -> None:
    row, key = create_api_key(name="old", scope=Scope.ADMIN)
    client = APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}")
    assert client.get("/api/v1/identities").status_code == 200
    assert revoke_api_keys(ids=[row.id]) == 1
    assert client.get("/api/v1/identities").status_code == 401


def test_the_key_itself_is_not_stored() -> None:
    row, key = create_api_key(name="k", scope=Scope.READ)
    stored = ApiKey.objects.filter(id=row.id).values().get()
    assert key not in str(stored)
    assert len(key) >= 43


@pytest.mark.parametrize(("method", "path"), ENROL_CALLS + ADMIN_CALLS)
def test_a_reading_key_changes_nothing(method: str, path: str, reader: APIClient) -> None:
    answer = getattr(reader, method)(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(("method", "path"), ADMIN_CALLS)
def test_an_enrolling_key_does_not_administer(method: str, path: str, enroller: APIClient) -> None:
    assert getattr(enroller, method)(path).status_code == 403


def test_register_unknown_needs_more_than_reading(reader: APIClient) -> None:
    answer = reader.post("/api/v1/recognize", {"image": b64(plain_jpeg()), "register_unknown": True}, format="json")
    assert answer.status_code == 403


@pytest.fixture
def foreign(other_collection: Collection) -> dict[str, str]:
    """Things in a collection that a caller has no right to."""
    identity = Identity.objects.create(collection=other_collection, name="Foreign", external_id="f-1")
    portrait = Portrait.objects.create(
        identity=identity,
        image="portraits/none.jpg",
        thumbnail="thumbnails/none.jpg",
        width=10,
        height=10,
        box=[0, 0, 5, 5],
        detector="test",
        score=1,
        quality={},
        sha256="0" * 64,
    )
    job = Job.objects.create(kind="enrol", queue="ingest", collection_id=other_collection.id)
    camera = Camera.objects.create(collection=other_collection, name="foreign")
    frame = Frame.objects.create(
        camera=camera, sequence=0, captured_at=timezone.now(), sha256="0" * 64, size_bytes=1, width=10, height=10
    )
    sighting = Sighting.objects.create(
        collection=other_collection,
        camera=camera,
        identity=identity,
        first_seen=frame.captured_at,
        last_seen=frame.captured_at,
        hits=1,
    )
    watch = Watch.objects.create(collection=other_collection, name="foreign", identity=identity)
    alert = Alert.objects.create(
        watch=watch,
        camera=camera,
        identity=identity,
        captured_at=frame.captured_at,
        last_hit_at=frame.captured_at,
        similarity=1,
    )
    export = SubjectExport.objects.create(
        collection=other_collection, identity=identity, expires_at=timezone.now() + timedelta(days=1)
    )
    proof = ErasureProof.objects.create(collection_id=other_collection.id, subject="0" * 64)
    rule = RetentionRule.objects.create(collection=other_collection, purpose="known", days=1)
    made = {
        "export": export,
        "proof": proof,
        "rule": rule,
        "identity": identity,
        "portrait": portrait,
        "job": job,
        "camera": camera,
        "frame": frame,
    }
    made |= {"sighting": sighting, "watch": watch, "alert": alert}
    return {name: str(row.pk) for name, row in made.items()}


def test_another_collection_is_as_if_it_did_not_exist(
    make_client: MakeClient, collection: Collection, other_collection: Collection, foreign: dict[str, str]
) -> None:
    """Every address that names an object, with an admin's scope but the wrong collection."""
    client = make_client(Scope.ADMIN, [collection])
    identity, portrait, job = (foreign[name] for name in ("identity", "portrait", "job"))
    calls = [
        ("get", f"/api/v1/identities/{identity}", None),
        ("patch", f"/api/v1/identities/{identity}", {"name": "Mine"}),
        ("delete", f"/api/v1/identities/{identity}", None),
        ("get", f"/api/v1/identities/{identity}/portraits", None),
        ("post", f"/api/v1/identities/{identity}/export", None),
        ("post", f"/api/v1/identities/{identity}/erase", {"reference": "mine"}),
        ("get", f"/api/v1/subject-exports/{foreign['export']}", None),
        ("get", f"/api/v1/subject-exports/{foreign['export']}/file", None),
        ("get", f"/api/v1/erasure-proofs/{foreign['proof']}", None),
        ("delete", f"/api/v1/retention-rules/{foreign['rule']}", None),
        ("post", "/api/v1/retention-rules", {"purpose": "known", "days": 9, "collection": other_collection.name}),
        ("post", f"/api/v1/identities/{identity}/portraits", {"image": b64(plain_jpeg())}),
        ("get", f"/api/v1/portraits/{portrait}", None),
        ("delete", f"/api/v1/portraits/{portrait}", None),
        ("get", f"/api/v1/portraits/{portrait}/image", None),
        ("get", f"/api/v1/portraits/{portrait}/thumbnail", None),
        ("get", f"/api/v1/jobs/{job}", None),
        ("post", f"/api/v1/jobs/{job}/cancel", None),
        ("post", f"/api/v1/jobs/{job}/retry", None),
        ("get", f"/api/v1/cameras/{foreign['camera']}", None),
        ("patch", f"/api/v1/cameras/{foreign['camera']}", {"fps": 1}),
        ("delete", f"/api/v1/cameras/{foreign['camera']}", None),
        ("post", f"/api/v1/cameras/{foreign['camera']}/frames", {"image": b64(plain_jpeg())}),
        ("post", "/api/v1/cameras", {"name": "mine", "collection": other_collection.name}),
        ("get", f"/api/v1/sightings/{foreign['sighting']}", None),
        ("delete", f"/api/v1/sightings/{foreign['sighting']}", None),
        ("get", f"/api/v1/sightings/{foreign['sighting']}/picture", None),
        ("get", f"/api/v1/sightings?camera={foreign['camera']}", None),
        ("get", f"/api/v1/sightings?identity={identity}", None),
        ("get", f"/api/v1/sightings?collection={other_collection.name}", None),
        ("get", f"/api/v1/frames/{foreign['frame']}", None),
        ("get", f"/api/v1/frames/{foreign['frame']}/picture", None),
        ("get", f"/api/v1/frames/{foreign['frame']}/annotated", None),
        ("get", f"/api/v1/frames?camera={foreign['camera']}", None),
        ("get", f"/api/v1/watches/{foreign['watch']}", None),
        ("patch", f"/api/v1/watches/{foreign['watch']}", {"name": "mine"}),
        ("delete", f"/api/v1/watches/{foreign['watch']}", None),
        ("post", "/api/v1/watches", {"name": "mine", "identity": identity}),
        ("get", f"/api/v1/alerts/{foreign['alert']}", None),
        ("get", f"/api/v1/alerts?camera={foreign['camera']}", None),
        ("post", f"/api/v1/alerts/{foreign['alert']}/acknowledge", None),
        ("post", "/api/v1/search", {"image": b64(plain_jpeg()), "collection": other_collection.name}),
        ("post", "/api/v1/search", {"image": b64(plain_jpeg()), "cameras": [foreign["camera"]]}),
        ("get", f"/api/v1/frames/{foreign['frame']}/scene", None),
        ("get", f"/api/v1/portraits/{portrait}/scene", None),
        ("get", f"/api/v1/cameras/{foreign['camera']}/scenes", None),
        ("put", f"/api/v1/cameras/{foreign['camera']}/scenes", {"caption_model": "", "segment_model": ""}),
        ("get", f"/api/v1/captions?camera={foreign['camera']}", None),
        ("get", f"/api/v1/captions?identity={identity}", None),
        ("get", f"/api/v1/captions?collection={other_collection.name}", None),
        ("get", f"/api/v1/objects?camera={foreign['camera']}", None),
        ("post", "/api/v1/caption", {"frame": foreign["frame"], "model": "describe"}),
        ("post", "/api/v1/caption", {"portrait": portrait, "model": "describe"}),
        ("post", "/api/v1/caption", {"image": b64(plain_jpeg()), "collection": other_collection.name}),
        ("post", "/api/v1/segment", {"frame": foreign["frame"]}),
        ("post", "/api/v1/segment", {"portrait": portrait}),
        ("post", "/api/v1/segment", {"image": b64(plain_jpeg()), "collection": other_collection.name}),
        ("get", f"/api/v1/collections/{other_collection.name}", None),
        ("patch", f"/api/v1/collections/{other_collection.id}", {"description": "mine"}),
        ("delete", f"/api/v1/collections/{other_collection.name}", None),
        ("get", f"/api/v1/identities?collection={other_collection.name}", None),
        ("post", "/api/v1/identities", {"name": "X", "collection": other_collection.name}),
        ("post", "/api/v1/recognize", {"image": b64(plain_jpeg()), "collection": other_collection.name}),
    ]
    for method, path, body in calls:
        answer = getattr(client, method)(path, body, format="json")
        assert (method, path, answer.status_code) == (method, path, 404)
        assert answer.json()["error"]["code"] == "not_found"
    assert Identity.objects.get(id=identity).name == "Foreign"
    assert Portrait.objects.filter(id=portrait).exists()


def test_lists_hold_only_what_is_within_reach(
    make_client: MakeClient, collection: Collection, foreign: dict[str, str]
) -> None:
    mine = Identity.objects.create(collection=collection, name="Mine")
    client = make_client(Scope.READ, [collection])
    assert [row["id"] for row in client.get("/api/v1/identities").json()["results"]] == [str(mine.id)]
    assert [row["name"] for row in client.get("/api/v1/collections").json()["results"]] == [collection.name]
    for name in ("jobs", "cameras", "sightings", "frames", "watches", "alerts", "captions", "objects"):
        assert client.get(f"/api/v1/{name}").json()["results"] == []


def test_a_bound_key_makes_no_collections(make_client: MakeClient, collection: Collection) -> None:
    client = make_client(Scope.ADMIN, [collection])
    assert client.post("/api/v1/collections", {"name": "new"}, format="json").status_code == 403


def test_a_key_for_several_collections_has_to_choose(
    make_client: MakeClient, collection: Collection, other_collection: Collection
) -> None:
    client = make_client(Scope.ENROL, [collection, other_collection])
    answer = client.post("/api/v1/identities", {"name": "X"}, format="json")
    assert answer.json()["error"]["code"] == "collection_required"
    body = {"name": "X", "collection": str(other_collection.id)}
    assert client.post("/api/v1/identities", body, format="json").json()["collection"] == other_collection.name


def test_sessions_only_of_staff_and_only_with_csrf(collection: Collection) -> None:
    User.objects.create_user("guest", password="pw")
    User.objects.create_user("porter", password="pw", is_staff=True)
    clerk = User.objects.create_user("clerk", password="pw", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=["view_identity", "view_portrait"]))
    User.objects.create_superuser("root", password="pw")
    expected = {"guest": (401, 401), "porter": (401, 401), "clerk": (200, 403), "root": (200, 201)}
    for name, (get_status, post_status) in expected.items():
        client = APIClient()
        assert client.login(username=name, password="pw")
        assert client.get("/api/v1/identities").status_code == get_status
        body = {"name": "X", "collection": collection.name}
        assert client.post("/api/v1/identities", body, format="json").status_code == post_status
    strict = APIClient(enforce_csrf_checks=True)
    strict.login(username="root", password="pw")
    assert strict.post("/api/v1/identities", {"name": "X"}, format="json").status_code == 403


@pytest.mark.parametrize("path", ["/media/portraits/x.jpg", "/media/", "/var/media/", "/static/../var/secrets/django"])
def test_media_have_no_public_address(path: str) -> None:
    assert APIClient().get(path).status_code == 404


CAMERA_DOORS = ("cameras", "backlog", "metrics", "frames", "sightings", "search", "alerts", "captions", "objects")


@pytest.mark.parametrize(("method", "path"), ALL_CALLS)
def test_a_cameras_key_is_let_in_only_where_it_keeps_to_its_cameras(
    method: str, path: str, collection: Collection
) -> None:
    _, key = create_api_key(name="c", scope=Scope.ADMIN, collection_ids=[collection.id], camera_ids=[uuid.uuid4()])
    answer = getattr(APIClient(HTTP_AUTHORIZATION=f"Api-Key {key}"), method)(path)
    if path.split("/")[3].partition("?")[0] not in CAMERA_DOORS:
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    elif path == "/api/v1/metrics":
        assert b'camera="' not in answer.content
    elif answer.status_code == 200:
        told = answer.json()
        assert told.get("results", told.get("cameras")) == []


def test_ids_that_are_none(admin: APIClient) -> None:
    for path in ("identities/1", "identities/%00", "portraits/x", "jobs/x", f"identities/{uuid.uuid4()}"):
        assert admin.get(f"/api/v1/{path}").status_code == 404
