"""`manage.py describe`: what the database holds, through the queue."""

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from portrait.gallery.models import Collection
from portrait.jobs.models import Job, JobItem
from portrait.jobs.tasks import run_item
from portrait.scenes.management.commands import describe
from portrait.scenes.models import Caption
from tests.portrait.sightings.seen import enrol, make_camera, make_frame

pytestmark = pytest.mark.django_db(transaction=True)

RULES = {"caption_model": "describe", "segment_model": ""}


def call(**options: Any) -> str:
    out = io.StringIO()
    call_command("describe", stdout=out, **(RULES | options))
    return out.getvalue()


def work() -> None:
    for item in JobItem.objects.filter(state="waiting"):
        run_item(item.pk)
    assert set(JobItem.objects.values_list("state", flat=True)) <= {"done"}


def test_portraits_and_frames_are_described_each_once(
    collection: Collection, other_collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe, "ITEMS_A_JOB", 1)
    identity = enrol(collection, "Eileen Collins", "collins")
    enrol(other_collection, "Eileen Collins", "collins")
    camera = make_camera(collection)
    frames = [make_frame(camera, "hopper"), make_frame(camera, "collins")]
    make_frame(make_camera(collection, "garden"), "hopper")
    assert call(collection=collection.name, portraits=True).count("GET /api/v1/jobs/") == 1
    assert call(camera=["door"]).count("GET /api/v1/jobs/") == 2
    assert set(Job.objects.values_list("collection_id", flat=True)) == {collection.pk}
    work()
    assert [row.portrait_id for row in Caption.objects.exclude(portrait=None)] == [identity.portraits.get().pk]
    assert set(Caption.objects.exclude(frame=None).values_list("frame_id", flat=True)) == {row.pk for row in frames}
    Job.objects.all().delete()
    call(collection=collection.name, missing=True)
    assert JobItem.objects.count() == 1, "the garden's frame"
    work()
    assert "nothing" in call(collection=collection.name, missing=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"caption_model": ""}, "Name a model"),
        ({"caption_model": "yolact-base"}, "no model for captioning"),
        ({"segment_model": "yolact-im700"}, "manage.py models install yolact-im700"),
        ({"collection": "nowhere"}, "no collection"),
        ({"camera": ["nowhere"]}, "no camera"),
        ({"camera": ["door"], "portraits": True}, "either"),
    ],
)
def test_what_cannot_be_done_is_told(db: None, options: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call(**options)
