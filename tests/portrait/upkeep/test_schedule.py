"""The schedule: made once, then it belongs to whoever edits it."""

import pytest
from celery import current_app
from django.conf import settings
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from portrait.upkeep.schedule import ENTRIES, ensure_schedule

pytestmark = pytest.mark.django_db


def test_every_entry_names_a_task_that_is_there_and_a_queue_that_is_read() -> None:
    current_app.loader.import_default_modules()
    assert {entry.task for entry in ENTRIES} <= set(current_app.tasks)
    assert {entry.queue for entry in ENTRIES} <= set(settings.CELERY_TASK_QUEUES)


def test_no_task_and_no_name_is_entered_twice() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert len({entry.task for entry in ENTRIES}) == len(ENTRIES)


def test_what_somebody_changed_stays() -> None:
    ensure_schedule()
    slow, _ = IntervalSchedule.objects.get_or_create(every=7, period=IntervalSchedule.DAYS)
    PeriodicTask.objects.filter(name=ENTRIES[-1].name).update(interval=slow, enabled=False)
    ensure_schedule()
    row = PeriodicTask.objects.get(name=ENTRIES[-1].name)
    assert row.interval == slow
    assert not row.enabled
    assert PeriodicTask.objects.filter(name__in=[entry.name for entry in ENTRIES]).count() == len(ENTRIES)


def test_two_equal_intervals_stop_nothing() -> None:
    PeriodicTask.objects.filter(name=ENTRIES[0].name).delete()
    for _ in range(2):
        IntervalSchedule.objects.create(every=ENTRIES[0].every_s, period=IntervalSchedule.SECONDS)
    ensure_schedule()
    assert PeriodicTask.objects.filter(name=ENTRIES[0].name).exists()


def test_a_task_that_moved_is_followed() -> None:
    PeriodicTask.objects.filter(name=ENTRIES[0].name).update(task="portrait.old.place", queue="gone", enabled=False)
    ensure_schedule()
    row = PeriodicTask.objects.get(name=ENTRIES[0].name)
    assert (row.task, row.queue, row.enabled) == (ENTRIES[0].task, ENTRIES[0].queue, False)
