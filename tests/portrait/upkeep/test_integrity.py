"""Rows against files, rows against rows: what a crash or a hand in the database leaves is found, and mended."""

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from portrait.demo.photos import PhotoSet
from portrait.gallery.models import Collection, Identity, Portrait, PortraitEmbedding
from portrait.gallery.services.enrolment import enrol_person
from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services import files, integrity
from portrait.upkeep.services.runs import DEAD_AFTER, VANISHED, Outcome, run

pytestmark = pytest.mark.django_db
DAY_S = 86_400


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.fixture
def enrolled(media: Path, collection: Collection, photos: PhotoSet) -> Portrait:
    person = next(iter(photos.people))
    enrol_person(collection=collection, name="somebody", photos=[photos.people[person][0].data])
    return Portrait.objects.get(identity__collection=collection)


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def report() -> dict[str, Any]:
    done = integrity.check()
    assert done is not None
    assert done.ended_at is not None
    return {"ok": done.ok, **done.report}


def test_all_is_well_after_an_enrolment(enrolled: Portrait) -> None:
    told = report()
    assert told["ok"]
    assert told["rows"] == {}
    assert told["files"]["files"] == told["files"]["rows"] == 2


def test_every_file_column_of_ours_is_looked_after() -> None:
    names = {str(column) for column in files.columns()}
    assert {"gallery.Portrait.image", "gallery.Portrait.thumbnail", "sightings.Sighting.picture"} <= names
    assert "jobs.JobItem.upload" in names
    assert not any(name.startswith("cameras.Frame") for name in names), "the ledger's own audit looks at those"


def test_a_row_without_its_file_is_told(enrolled: Portrait) -> None:
    default_storage.delete(enrolled.image.name)
    told = report()
    assert not told["ok"]
    assert told["files"]["missing"] == [f"gallery.Portrait.image {enrolled.pk}"]


def test_what_a_killed_enrolment_left_goes_when_it_is_old_enough(enrolled: Portrait, media: Path) -> None:
    left = Path(enrolled.image.path).with_name("0b0f6ad4-4d2b-4c53-9d3b-6a8e3a3a9a11.jpg")
    left.write_bytes(b"a face")
    assert report()["files"]["orphans"] == [], "it may be an enrolment that goes on at this moment"
    age(left, 2 * 3600)
    told = report()
    assert told["files"]["orphans"] == [str(left.relative_to(media))]
    assert not told["ok"]
    assert left.exists()
    age(left, 2 * DAY_S)
    told = report()
    assert told["files"]["deleted"] == 1
    assert told["ok"]
    assert not left.exists()
    assert Path(enrolled.image.path).exists()


def test_another_databases_files_are_not_taken_for_leftovers(
    enrolled: Portrait, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_DELETED", 3)
    for index in range(5):
        path = media / "portraits" / f"{index}.jpg"
        path.write_bytes(b"a face")
        age(path, 2 * DAY_S)
    told = report()
    assert told["files"]["orphan_count"] == 5
    assert told["files"]["deleted"] == 0
    assert len(list((media / "portraits").glob("*.jpg"))) == 5


def test_only_looking_changes_nothing(enrolled: Portrait, media: Path) -> None:
    left = media / "portraits" / "left.jpg"
    left.write_bytes(b"a face")
    age(left, 2 * DAY_S)
    PortraitEmbedding.objects.update(live=False)
    done = integrity.check(repair=False)
    assert done is not None
    assert not done.ok
    assert left.exists()
    assert not PortraitEmbedding.objects.filter(live=True).exists()


def test_vectors_that_strayed_from_their_portrait_are_brought_back(
    enrolled: Portrait, other_collection: Collection
) -> None:
    stranger = Identity.objects.create(collection=other_collection, name="another")
    PortraitEmbedding.objects.update(identity=stranger, collection=other_collection, live=False)
    told = report()
    assert told["ok"], "it was mended"
    assert {rule: each["mended"] for rule, each in told["rows"].items()} == {
        "vectors that are not with their portrait's person": 1,
        "vectors that are found though deleted, or the other way round": 1,
    }
    row = PortraitEmbedding.objects.get()
    assert (row.identity_id, row.collection_id, row.live) == (
        enrolled.identity_id,
        enrolled.identity.collection_id,
        True,
    )
    assert report()["rows"] == {}


def test_a_deleted_persons_vectors_must_not_be_found(enrolled: Portrait) -> None:
    Identity.objects.update(deleted_at=timezone.now())
    assert list(report()["rows"]) == ["vectors that are found though deleted, or the other way round"]
    assert not PortraitEmbedding.objects.get().live


def test_a_portrait_without_a_vector_is_told(enrolled: Portrait) -> None:
    PortraitEmbedding.objects.all().delete()
    told = report()
    assert not told["ok"]
    assert told["rows"]["portraits without a vector of their collection's model"]["ids"] == [str(enrolled.pk)]


def test_merged_people_are_in_order(enrolled: Portrait, other_collection: Collection) -> None:
    target = Identity.objects.create(collection=other_collection, name="target")
    Identity.objects.filter(pk=enrolled.identity_id).update(merged_into=target)
    assert set(report()["rows"]) == {
        "people merged into another collection's, or into each other",
        "merged people who kept portraits",
        "vectors that are found though deleted, or the other way round",
    }


def test_two_at_once_are_one(db: None) -> None:
    outer: list[UpkeepRun | None] = []

    def work(still_here: Any) -> Outcome:
        outer.append(run(kind=UpkeepRun.Kind.INTEGRITY, work=lambda _: Outcome(True, {})))
        return Outcome(True, {})

    assert run(kind=UpkeepRun.Kind.INTEGRITY, work=work) is not None
    assert outer == [None]


def test_a_run_that_was_killed_does_not_stop_the_next(db: None) -> None:
    killed = UpkeepRun.objects.create(
        kind=UpkeepRun.Kind.INTEGRITY, alive_at=timezone.now() - DEAD_AFTER - timedelta(seconds=1)
    )
    assert run(kind=UpkeepRun.Kind.INTEGRITY, work=lambda _: Outcome(True, {})) is not None
    killed.refresh_from_db()
    assert (killed.ok, killed.error) == (False, VANISHED)


def test_a_check_that_fails_says_why(db: None) -> None:
    def work(still_here: Any) -> Outcome:
        raise OSError("the disk is away")

    with pytest.raises(OSError, match="away"):
        run(kind=UpkeepRun.Kind.INTEGRITY, work=work)
    row = UpkeepRun.objects.get()
    assert (row.ok, row.error) == (False, "OSError: the disk is away")


def test_half_precision_counts_as_a_vector(enrolled: Portrait) -> None:
    PortraitEmbedding.objects.update(half=np.zeros(128, dtype=np.float32), vector=None)
    assert report()["rows"] == {}
