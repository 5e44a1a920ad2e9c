"""The admin's page of calibrations: who may set a collection's threshold, and that it is asked first."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from portrait.calibration.models import CalibrationRun
from portrait.gallery.models import Collection

pytestmark = pytest.mark.django_db
LIST = "admin:calibration_calibrationrun_changelist"
RIGHTS = ("view_calibrationrun", "change_calibrationrun")


@pytest.fixture
def run(collection: Collection) -> CalibrationRun:
    Collection.objects.filter(pk=collection.pk).update(threshold=0.7)
    return CalibrationRun.objects.create(
        collection=collection,
        model=collection.active_model,
        state=CalibrationRun.State.DONE,
        threshold=0.55,
        parameters={"fmr": 1e-3},
    )


def clerk(*rights: str) -> Client:
    user = User.objects.create_user(f"clerk-{User.objects.count()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=rights))
    client = Client()
    client.force_login(user)
    return client


def do(client: Client, action: str, run: CalibrationRun, **said: str) -> str:
    asked = {"action": action, "_selected_action": str(run.pk), **said}
    return client.post(reverse(LIST), asked, follow=True).content.decode()


def threshold(run: CalibrationRun) -> float | None:
    return Collection.objects.get(pk=run.collection_id).threshold


def test_to_apply_needs_the_right_to_change_collections(run: CalibrationRun) -> None:
    page = do(clerk(*RIGHTS), "apply", run, sure="1")
    assert "threshold is the collection" not in page
    assert threshold(run) == 0.7
    do(clerk(*RIGHTS, "change_collection"), "apply", run, sure="1")
    assert threshold(run) == 0.55


def test_it_is_asked_first_and_stands_in_the_collections_history(run: CalibrationRun) -> None:
    keeper = clerk(*RIGHTS, "change_collection", "view_collection")
    page = do(keeper, "apply", run)
    assert "threshold 0.7000 → 0.5500" in page
    assert threshold(run) == 0.7, "not before it is confirmed"
    assert "The threshold is the collection" in do(keeper, "apply", run, sure="1")
    assert threshold(run) == 0.55
    assert "threshold 0.5500 → 0.7000" in do(keeper, "revert", run)
    do(keeper, "revert", run, sure="1")
    assert threshold(run) == 0.7
    history = keeper.get(reverse("admin:gallery_collection_history", args=[run.collection_id])).content.decode()
    assert "Threshold 0.7000 → 0.5500" in history
    assert "Threshold 0.5500 → 0.7000" in history
    assert not LogEntry.objects.filter(object_repr__contains=run.collection.name).exists()


def test_what_is_refused_is_told_and_not_logged(run: CalibrationRun) -> None:
    keeper = clerk(*RIGHTS, "change_collection")
    CalibrationRun.objects.filter(pk=run.pk).update(applied_at=timezone.now())
    Collection.objects.filter(pk=run.collection_id).update(threshold=0.55)
    assert "applied already" in do(keeper, "apply", run, sure="1")
    assert not LogEntry.objects.exists()
