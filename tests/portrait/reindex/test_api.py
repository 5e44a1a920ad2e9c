"""`/api/v1/reindexes` and `/api/v1/embedding-models`: answers, refusals, and who may ask."""

import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.core.models import Scope
from portrait.gallery.models import Collection, EmbeddingModel
from portrait.jobs.models import Job
from portrait.reindex.models import Reindex, State
from tests.api_clients import MakeClient
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db
URL = "/api/v1/reindexes"


@pytest.fixture
def switched(collection: Collection, projection: EmbeddingModel) -> Reindex:
    """As a job would have left it a while ago."""
    network = collection.active_model
    Collection.objects.filter(pk=collection.pk).update(active_model=projection)
    collection.kept_models.add(network, projection)
    ago = timezone.now() - timedelta(hours=1)
    return Reindex.objects.create(
        collection=collection, from_model=network, to_model=projection, state=State.SWITCHED, switched_at=ago
    )


def test_models_are_listed_with_what_they_are(reader: APIClient, projection: EmbeddingModel) -> None:
    found = {each["name"]: each for each in reader.get("/api/v1/embedding-models").json()["results"]}
    assert found["dlib_resnet"]["projects"] is None
    assert found["dlib_resnet"]["bytes_a_vector"] == 520
    assert found["tiny"]["projects"] == "dlib_resnet 1"
    assert (found["tiny"]["precision"], found["tiny"]["bytes_a_vector"]) == ("half", 248)
    assert "projection" not in found["tiny"]


def test_a_reindex_begins_and_is_told(admin: APIClient, collection: Collection, projection: EmbeddingModel) -> None:
    enrol(collection, people(3, 2))
    answer = admin.post(URL, {"model": "tiny", "collection": collection.name})
    assert answer.status_code == 202, answer.content
    body = answer.json()
    assert (body["collection"], body["from_model"], body["to_model"]) == (collection.name, "dlib_resnet 1", "tiny 1")
    assert body["state"] == "building"
    assert body["progress"] == {"rows": 6, "done": 0, "per_s": None}
    assert admin.get(f"/api/v1/jobs/{body['job']}").json()["progress"]["total"] == 2
    assert admin.get(f"{URL}/{body['id']}").json() == body
    assert [each["id"] for each in admin.get(URL, {"collection": collection.name}).json()["results"]] == [body["id"]]
    again = admin.post(URL, {"model": "tiny", "collection": collection.name})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "conflict")
    assert admin.post(f"/api/v1/jobs/{body['job']}/cancel").status_code == 200
    assert admin.get(f"{URL}/{body['id']}").json()["state"] == "cancelled"
    assert not collection.kept_models.exists()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "model"),
        ({"model": "nobody"}, 404, "model"),
        ({"model": "dlib_resnet"}, 409, "model"),
        ({"model": "tiny", "colection": "x"}, 400, "colection"),
        ({"model": "tiny", "collection": "nowhere"}, 404, "collection"),
    ],
)
def test_refusals_name_what_is_wrong(
    admin: APIClient, projection: EmbeddingModel, body: dict[str, str], status: int, field: str
) -> None:
    answer = admin.post(URL, body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (status, field), answer.content


def test_a_network_that_is_not_installed_is_refused(admin: APIClient, collection: Collection) -> None:
    EmbeddingModel.objects.create(name="arcface", version="1", dims=512, calibration={"threshold": 1, "slope": 8})
    answer = admin.post(URL, {"model": "arcface", "collection": collection.name})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "unusable_model")
    assert not Reindex.objects.exists()


def test_rollback_and_retire_by_the_api(admin: APIClient, collection: Collection, switched: Reindex) -> None:
    body = admin.post(f"{URL}/{switched.pk}/rollback").json()
    assert (body["state"], body["rolled_back_at"] is not None) == ("rolled_back", True)
    collection.refresh_from_db()
    assert collection.active_model == switched.from_model
    assert admin.post(f"{URL}/{switched.pk}/rollback").status_code == 409
    assert admin.post(f"{URL}/{switched.pk}/switch", {"force": True}).status_code == 409
    early = admin.post(f"{URL}/{switched.pk}/retire")
    assert (early.status_code, "try again in" in early.json()["error"]["message"]) == (409, True)
    Reindex.objects.update(rolled_back_at=timezone.now() - timedelta(hours=1))
    answer = admin.post(f"{URL}/{switched.pk}/retire")
    assert answer.status_code == 202
    assert Job.objects.get(pk=answer.json()["job"]).kind == "reindex_retire"
    assert not collection.kept_models.filter(pk=switched.to_model_id).exists()


def test_a_key_of_another_collection_sees_and_changes_nothing(
    make_client: MakeClient, other_collection: Collection, collection: Collection, switched: Reindex
) -> None:
    stranger = make_client(Scope.ADMIN, [other_collection])
    assert stranger.get(URL).json()["results"] == []
    assert stranger.get(f"{URL}/{switched.pk}").status_code == 404
    for what in ("rollback", "retire", "switch"):
        assert stranger.post(f"{URL}/{switched.pk}/{what}").status_code == 404
    assert stranger.post(URL, {"model": "tiny", "collection": collection.name}).status_code == 404
    switched.refresh_from_db()
    assert (switched.state, switched.retired_at) == (State.SWITCHED, None)
    own = make_client(Scope.ADMIN, [collection])
    assert [each["id"] for each in own.get(URL).json()["results"]] == [str(switched.pk)]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.ENROL])
def test_only_admins_reindex(make_client: MakeClient, scope: Scope, switched: Reindex) -> None:
    client = make_client(scope)
    assert client.get(URL).status_code == 403
    assert client.post(URL, {"model": "tiny"}).status_code == 403
    assert client.post(f"{URL}/{switched.pk}/rollback").status_code == 403


def test_the_commands_tell_what_they_do(collection: Collection, projection: EmbeddingModel) -> None:
    out = StringIO()
    call_command("embedders", "list", stdout=out)
    assert "tiny 1" in out.getvalue()
    with pytest.raises(CommandError, match="500"):
        call_command("embedders", "learn", "--collection", collection.name)
    enrol(collection, people(60, 9))
    call_command("embedders", "learn", "--collection", collection.name, "--dims", "32", "--half", stdout=out)
    learnt = EmbeddingModel.objects.get(name="dlib_resnet-pca32h")
    assert learnt.report["bytes_a_vector"] == {"source": 520, "here": 72}
    assert "32 numbers, learnt from 540 portraits" in out.getvalue()
    call_command("embedders", "learn", "--collection", collection.name, "--dims", "16", stdout=out)
    call_command("embedders", "remove", "dlib_resnet-pca16", stdout=out)
    assert "dlib_resnet-pca16 1 is removed" in out.getvalue()
    call_command("reindex", "--model", learnt.name, "--collection", collection.name, stdout=out)
    for name, why in (
        (learnt.name, "was used"),
        ("dlib_resnet", "network"),
        ("dlib_resnet-pca16", "no embedding model"),
    ):
        with pytest.raises(CommandError, match=why):
            call_command("embedders", "remove", name)
    assert "0 of 540 faces" in out.getvalue()
    with pytest.raises(CommandError, match="open"):
        call_command("reindex", "--model", "tiny", "--collection", collection.name)
    with pytest.raises(CommandError, match="never re-indexed"):
        call_command("reindex", "--status")
    with pytest.raises(CommandError, match=str(uuid.UUID(int=0))):
        call_command("reindex", "--status", "--collection", str(uuid.UUID(int=0)))
