"""`/api/v1/suggestions`: what it tells, and to whom."""

import uuid

import pytest
from rest_framework.test import APIClient

from portrait.core.models import Scope
from portrait.curation.models import State, Suggestion
from portrait.gallery.models import Change, Collection, Identity
from portrait.jobs.models import Job
from tests.api_clients import MakeClient
from tests.portrait.curation.crowd import add_portrait, face, person, run, scan, waiting

pytestmark = pytest.mark.django_db
URL = "/api/v1/suggestions"


@pytest.fixture
def pair(collection: Collection) -> Suggestion:
    person(collection, "Anna", [face(1)], kind="known", external_id="a-1")
    person(collection, "unknown_person_1", [face(1, seed=1)])
    scan(collection)
    (row,) = waiting(collection)
    return row


def test_a_suggestion_tells_who_and_why(reader: APIClient, pair: Suggestion) -> None:
    (told,) = reader.get(URL).json()["results"]
    assert told == reader.get(f"{URL}/{pair.pk}").json()
    assert (told["kind"], told["state"], told["action"]) == ("same_person", "open", "merge")
    assert told["reason"] == "Their faces are alike."
    assert 0.9 < told["similarity"] <= 1
    people = {each["name"]: each for each in told["identities"]}
    assert set(people) == {"Anna", "unknown_person_1"}
    assert people["Anna"]["external_id"] == "a-1"
    portrait = Identity.objects.get(name="Anna").portraits.get()
    assert people["Anna"]["thumbnail_url"] == f"/api/v1/portraits/{portrait.pk}/thumbnail"


def test_a_page_costs_the_same_number_of_queries_however_long(
    reader: APIClient, collection: Collection, django_assert_max_num_queries: object
) -> None:
    for who in range(12):
        person(collection, f"{who}.0", [face(who)])
        person(collection, f"{who}.1", [face(who, seed=1)])
    scan(collection)
    with django_assert_max_num_queries(8):  # type: ignore[operator]
        page = reader.get(URL, {"page_size": 5}).json()
        assert len(page["results"]) == 5
    seen = [each["id"] for each in page["results"]]
    while page["next"]:
        page = reader.get(page["next"]).json()
        seen += [each["id"] for each in page["results"]]
    assert len(seen) == len(set(seen)) == 12
    scores = [Suggestion.objects.get(pk=key).score for key in seen]
    assert scores == sorted(scores, reverse=True)


def test_filters(reader: APIClient, enroller: APIClient, collection: Collection, pair: Suggestion) -> None:
    anna = Identity.objects.get(name="Anna")
    other = person(collection, "somebody", [face(9)])

    def found(**query: str) -> list[str]:
        answer = reader.get(URL, query)
        assert answer.status_code == 200, answer.json()
        return [each["id"] for each in answer.json()["results"]]

    mine = [str(pair.pk)]
    assert (
        found()
        == found(kind="same_person")
        == found(collection=collection.name)
        == found(identity=str(anna.pk))
        == mine
    )
    assert found(kind="cluster") == found(state="rejected") == found(identity=str(other.pk)) == []
    assert enroller.post(f"{URL}/{pair.pk}/reject").status_code == 200
    assert found() == []
    assert found(state="rejected") == mine
    assert reader.get(URL, {"stat": "open"}).status_code == 400
    assert reader.get(URL, {"identity": str(uuid.uuid4())}).status_code == 404


def test_answers_are_journaled_under_the_keys_name(enroller: APIClient, pair: Suggestion) -> None:
    told = enroller.post(f"{URL}/{pair.pk}/confirm").json()
    assert (told["state"], told["decided_by"]) == ("confirmed", "API key test")
    (change,) = Change.objects.filter(pk__in=told["changes"])
    assert (change.action, change.actor) == ("merge", "API key test")
    again = enroller.post(f"{URL}/{pair.pk}/reject")
    assert again.status_code == 409
    assert again.json()["error"]["state"] == "confirmed"
    assert enroller.post(f"{URL}/{pair.pk}/undo").json()["state"] == "open"
    named = enroller.post(f"{URL}/{pair.pk}/name", {"name": "Anna B."})
    assert named.json()["state"] == "confirmed"
    assert Identity.objects.get(merged_into=None, collection=pair.collection).name == "Anna B."


def test_outliers_are_answered_with_an_action(enroller: APIClient, collection: Collection) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    stray = add_portrait(one, face(5))
    scan(collection)
    (row,) = waiting(collection, "outlier")
    (told,) = enroller.get(URL).json()["results"]
    assert [each["id"] for each in told["portraits"]] == [str(stray.pk)]
    assert told["action"] == "split"
    assert enroller.post(f"{URL}/{row.pk}/name", {"name": "X"}).status_code == 422
    assert enroller.post(f"{URL}/{row.pk}/confirm", {"action": "burn"}).status_code == 400
    assert enroller.post(f"{URL}/{row.pk}/confirm", {"action": "delete"}).status_code == 200
    stray.refresh_from_db()
    assert stray.deleted_at is not None


def test_misspelt_and_missing_fields_are_refused(enroller: APIClient, pair: Suggestion) -> None:
    assert enroller.post(f"{URL}/{pair.pk}/confirm", {"in_to": str(uuid.uuid4())}).status_code == 400
    assert enroller.post(f"{URL}/{pair.pk}/name", {}).status_code == 400
    assert enroller.post(f"{URL}/{pair.pk}/reject", {"why": "x"}).status_code == 400
    assert enroller.post(f"{URL}/scan", {"fully": True}).status_code == 400
    for nobody in (uuid.uuid4(), "x"):
        assert enroller.post(f"{URL}/{nobody}/confirm").status_code == 404
    pair.refresh_from_db()
    assert pair.state == State.OPEN


def test_another_collections_key_sees_and_answers_nothing(
    make_client: MakeClient, pair: Suggestion, other_collection: Collection
) -> None:
    stranger = make_client(Scope.ENROL, [other_collection])
    assert stranger.get(URL).json()["results"] == []
    assert stranger.get(f"{URL}/{pair.pk}").status_code == 404
    for call in ("confirm", "reject", "undo"):
        assert stranger.post(f"{URL}/{pair.pk}/{call}").status_code == 404
    assert stranger.post(f"{URL}/{pair.pk}/name", {"name": "X"}).status_code == 404
    assert stranger.post(f"{URL}/scan", {"collection": pair.collection.name}).status_code == 404
    anna = Identity.objects.get(name="Anna")
    assert stranger.get(URL, {"identity": str(anna.pk)}).status_code == 404
    pair.refresh_from_db()
    assert pair.state == State.OPEN
    own = make_client(Scope.ENROL, [pair.collection])
    assert own.post(f"{URL}/{pair.pk}/confirm").status_code == 200


def test_a_portrait_never_moves_to_another_collection(
    enroller: APIClient, collection: Collection, other_collection: Collection
) -> None:
    one = person(collection, "one", [face(1, seed=seed) for seed in range(3)], kind="known")
    stray = add_portrait(one, face(5))
    outside = person(other_collection, "outside", [face(5)])
    scan(collection)
    (row,) = waiting(collection, "outlier")
    assert enroller.post(f"{URL}/{row.pk}/confirm", {"into": str(outside.pk)}).status_code == 404
    stray.refresh_from_db()
    assert stray.identity_id == one.pk


def test_a_reader_looks_but_does_not_answer(reader: APIClient, pair: Suggestion) -> None:
    for call in ("confirm", "reject", "undo", "name"):
        assert reader.post(f"{URL}/{pair.pk}/{call}").status_code == 403
    assert reader.post(f"{URL}/scan").status_code == 403


def test_a_scan_by_the_api(make_client: MakeClient, collection: Collection) -> None:
    person(collection, "one", [face(1)])
    person(collection, "two", [face(1, seed=1)])
    client = make_client(Scope.ENROL, [collection])
    answer = client.post(f"{URL}/scan")
    assert (answer.status_code, answer.json()["started"]) == (202, True)
    again = client.post(f"{URL}/scan", {"full": True}).json()
    assert again == {"job": answer.json()["job"], "started": False}
    run(Job.objects.get(pk=answer.json()["job"]))
    told = client.get(f"/api/v1/jobs/{answer.json()['job']}").json()
    assert told["state"] == "done"
    assert len(client.get(URL).json()["results"]) == 1
