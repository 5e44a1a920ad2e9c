"""Re-indexes that are not to go on: abandoned, cancelled at the last moment, retired by halves."""

import uuid
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from portrait.core.errors import ConflictError
from portrait.core.models import Scope
from portrait.gallery.models import Collection, EmbeddingModel, PortraitEmbedding
from portrait.jobs import services as jobs
from portrait.jobs.models import ItemState, Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.reindex import handlers
from portrait.reindex.models import Reindex, State
from portrait.reindex.services import checking, ending, retiring, starting, switching
from tests.api_clients import MakeClient
from tests.portrait.reindex.conftest import make_projection
from tests.portrait.reindex.population import enrol, people

pytestmark = pytest.mark.django_db
URL = "/api/v1/reindexes"


@pytest.fixture(autouse=True)
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are built beside living data, which a test's transaction is not."""
    monkeypatch.setattr(handlers, "build_live_index", lambda *_, **__: None)
    monkeypatch.setattr(handlers, "build_exemplar_index", lambda *_: None)


@pytest.fixture
def crowd(collection: Collection) -> Collection:
    enrol(collection, people(20, 3))
    return collection


@pytest.fixture
def ready(crowd: Collection, projection: EmbeddingModel) -> Reindex:
    """Its checks found something: it waits for somebody to decide."""
    reindex = starting.start(collection=crowd, model=projection, switch_itself=False)
    _work(reindex)
    Reindex.objects.update(error="both models agree about 12.0% of the portraits only")
    reindex.refresh_from_db()
    assert reindex.state == State.READY
    return reindex


def _work(reindex: Reindex) -> None:
    for _ in range(2):
        JobItem.objects.filter(job_id=reindex.job_id, paused_until__lte=timezone.now()).update(paused_until=None)
        for item_id in JobItem.objects.filter(job_id=reindex.job_id, state=ItemState.WAITING).values_list("pk"):
            run_item(item_id[0])
    jobs.close_if_finished(job_id=uuid.UUID(str(reindex.job_id)))


def _cancel(reindex: Reindex) -> None:
    jobs.cancel(job=Job.objects.get(pk=reindex.job_id))


def test_what_is_ready_is_abandoned_and_makes_room(ready: Reindex, crowd: Collection) -> None:
    _cancel(ready)
    ending.settle()
    ready.refresh_from_db()
    assert ready.state == State.READY, "its job ended before"
    with pytest.raises(ConflictError, match="abandon it"):
        starting.start(collection=crowd, model=ready.to_model)
    with pytest.raises(ConflictError, match="abandon it"):
        retiring.retire(reindex=ready)
    ending.abandon(ready)
    ready.refresh_from_db()
    assert (ready.state, ready.error) == (State.CANCELLED, ending.ABANDONED)
    crowd.refresh_from_db()
    assert crowd.active_model == ready.from_model
    assert not crowd.kept_models.exists(), "faces that come get no vectors of it any more"
    with pytest.raises(ConflictError, match="cancelled"):
        ending.abandon(ready)
    with pytest.raises(ConflictError, match="cancelled"):
        switching.switch_by_hand(ready)
    again = starting.start(collection=crowd, model=make_projection("other", 100))
    with pytest.raises(ConflictError, match=f"jobs/{again.job_id}/cancel"):
        ending.abandon(again)


def test_what_was_abandoned_can_be_retired(ready: Reindex) -> None:
    ending.abandon(ready)
    ready.refresh_from_db()
    _work(retiring.retire(reindex=ready))
    assert not PortraitEmbedding.objects.filter(model=ready.to_model).exists()


def test_abandoning_by_the_api(
    admin: APIClient, make_client: MakeClient, other_collection: Collection, ready: Reindex
) -> None:
    url = f"{URL}/{ready.pk}/abandon"
    assert make_client(Scope.ADMIN, [other_collection]).post(url).status_code == 404
    assert make_client(Scope.ENROL).post(url).status_code == 403
    unknown = admin.post(url, {"force": True})
    assert (unknown.status_code, unknown.json()["error"]["field"]) == (400, "force")
    ready.refresh_from_db()
    assert ready.state == State.READY
    answer = admin.post(url)
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled"), answer.content
    assert admin.post(url).status_code == 409
    assert admin.post(f"{URL}/abc/abandon").status_code == 404


def test_abandoning_by_the_command(ready: Reindex, crowd: Collection) -> None:
    out = StringIO()
    call_command("reindex", "--abandon", "--collection", crowd.name, stdout=out)
    assert ": cancelled, " in out.getvalue()
    with pytest.raises(CommandError, match="only one that is ready"):
        call_command("reindex", "--abandon", "--collection", crowd.name)


def test_abandoning_in_the_admin(ready: Reindex) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    chosen = {"action": "abandon", "_selected_action": [str(ready.pk)]}
    page = client.post("/admin/reindex/reindex/", chosen, follow=True).content.decode()
    assert "stays with the old vectors" in page
    ready.refresh_from_db()
    assert ready.state == State.CANCELLED


@pytest.mark.parametrize("when", ["while the index is built", "while it is checked", "while it is counted"])
def test_cancelling_stops_the_switch_to_the_last_moment(
    crowd: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    reindex = starting.start(collection=crowd, model=projection)
    check, translated = checking.check, switching.thresholds.translated

    def checked(*args: Any, **values: Any) -> Any:
        if when == "while it is checked":
            _cancel(reindex)
        return check(*args, **values) | {"agreement": {"self_match": 1.0, "same": 1.0}}

    def counted(*args: Any) -> Any:
        if when == "while it is counted" and Reindex.objects.get(pk=reindex.pk).report:
            _cancel(reindex)
        return translated(*args)

    if when == "while the index is built":
        monkeypatch.setattr(handlers, "build_live_index", lambda *_, **__: _cancel(reindex))
    monkeypatch.setattr(checking, "check", checked)
    monkeypatch.setattr(switching.thresholds, "translated", counted)
    _work(reindex)
    ending.settle()
    reindex.refresh_from_db()
    crowd.refresh_from_db()
    assert Job.objects.get(pk=reindex.job_id).cancelled_at is not None
    assert (reindex.state, crowd.active_model) == (State.CANCELLED, reindex.from_model)


def test_a_retire_that_was_cancelled_can_be_asked_again(
    ready: Reindex, crowd: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retiring, "AFTER_SWITCH", timedelta())
    switching.switch_by_hand(ready)
    ready.refresh_from_db()
    asked = retiring.retire(reindex=ready)
    with pytest.raises(ConflictError, match="already"):
        retiring.retire(reindex=asked)
    _cancel(asked)
    _work(asked)
    assert PortraitEmbedding.objects.filter(collection=crowd, model=ready.from_model).count() == 60
    with pytest.raises(ConflictError, match="retired"):
        switching.roll_back(ready)
    again = retiring.retire(reindex=asked)
    _work(again)
    assert not PortraitEmbedding.objects.filter(collection=crowd, model=ready.from_model).exists()
    with pytest.raises(ConflictError, match="already"):
        retiring.retire(reindex=again)


def test_one_that_was_cut_off_before_it_was_planned_makes_room(crowd: Collection, projection: EmbeddingModel) -> None:
    reindex = Reindex.objects.create(collection=crowd, from_model=crowd.active_model, to_model=projection)
    ending.settle()
    reindex.refresh_from_db()
    assert reindex.state == State.BUILDING, "it may be planned at this moment"
    Reindex.objects.update(created_at=timezone.now() - ending.PLANNING)
    assert starting.start(collection=crowd, model=projection).state == State.BUILDING
    reindex.refresh_from_db()
    assert reindex.state == State.FAILED


def test_a_full_queue_leaves_nothing_open(
    crowd: Collection, projection: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MAX_OPEN_ITEMS", 1)
    with pytest.raises(jobs.QueueFullError):
        starting.start(collection=crowd, model=projection)
    assert not crowd.kept_models.exists()
    assert Reindex.objects.get().state == State.FAILED
