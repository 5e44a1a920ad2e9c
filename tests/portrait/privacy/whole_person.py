"""Somebody of whom there is something in every place we know of, beside somebody else; and a look at all there is."""

import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from portrait.audit.models import Action
from portrait.audit.services import record, system
from portrait.calibration.models import CalibrationRun
from portrait.cameras.models import Camera, Frame
from portrait.curation.models import Likeness, Suggestion
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services import editing
from portrait.gallery.services.journal import Actor
from portrait.jobs.models import Job, JobItem
from portrait.scenes.models import Caption, PersonInResult, SceneObject, Segmentation
from portrait.sightings.models import Alert, FaceRejection, Stranger, Track, Watch
from portrait.transfer.models import Import, ImportedName, ImportFile, ImportPart, ImportPerson
from portrait.upkeep.models import UpkeepRun
from tests.portrait.sightings import seen

ACTOR = Actor("tester")
NAME, OTHER_NAME, OLD_NAME = "Grace Brewster Murray", "Eileen Marie", "Unbekannte Nachbarin"
METADATA = {"room": "Zimmer-4711-geheim"}


class Whole:
    """hopper: the person. collins: somebody else. part: who was merged into hopper."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.camera: Camera = seen.make_camera(collection)
        self.hopper = seen.enrol(collection, OLD_NAME, "hopper", external_id="hop-0815", metadata=METADATA)
        self.collins = seen.enrol(collection, OTHER_NAME, "collins", external_id="col-1")
        # As of a picture that nobody else ever sent: of those that were asked with, the log keeps the hash.
        Portrait.objects.filter(identity=self.hopper).update(sha256=secrets.token_hex(32))
        self.portrait = Portrait.objects.get(identity=self.hopper)
        editing.update(identity=self.hopper, actor=ACTOR, name=NAME, consent="Unterschrift-vom-Mai")
        self.part = Identity.objects.create(collection=collection, name="Admiral-Amazing", external_id="adm-77")
        editing.merge(target=self.hopper, sources=[self.part], actor=ACTOR)
        editing.distinct(first=self.hopper, second=self.collins, actor=ACTOR)
        self._seen()
        self._told()
        self._asked()
        self._curated()

    def _curated(self) -> None:
        pair = sorted([self.hopper.pk, self.collins.pk])
        Suggestion.objects.create(
            collection=self.collection, kind="same_person", fingerprint="f" * 64, identities=pair, score=0.7
        )
        model = self.collection.active_model
        Likeness.objects.create(
            collection=self.collection, model=model, first_id=pair[0], second_id=pair[1], distance=0.7, nearest=0.6
        )
        amiss = {"merged people who kept portraits": {"count": 1, "ids": [str(self.hopper.pk)], "mended": 0}}
        UpkeepRun.objects.create(kind=UpkeepRun.Kind.INTEGRITY, ended_at=timezone.now(), report={"rows": amiss})
        suspects = [{"first": str(pair[0]), "second": str(pair[1]), "distance": 0.5}]
        CalibrationRun.objects.create(collection=self.collection, model=model, report={"suspects": suspects})
        run = Import.objects.create(collection=self.collection, finished_at=timezone.now())
        part = ImportPart.objects.create(run=run, item=0)
        folder = "Ordner-der-Admiralin"
        listed = ImportPerson.objects.create(
            run=run, folder=folder, name=OLD_NAME, external_id="hop-0815", values=METADATA, identity=self.hopper
        )
        ImportFile.objects.create(
            run=run,
            part=part,
            index=0,
            person=listed,
            path=f"{folder}/1.jpg",
            status="accepted",
            identity_id=self.hopper.pk,
            portrait_id=self.portrait.pk,
            sha256=self.portrait.sha256,
        )
        ImportedName.objects.create(collection=self.collection, key=f"name:{OLD_NAME}", identity=self.hopper)

    def _seen(self) -> None:
        both = seen.make_frame(self.camera, seen.BOTH, seen.ago(hours=1))
        left, right = seen.see(both, seen.BOTH, [self.collins, self.hopper])
        self.sighting, self.other_sighting = seen.make_sighting(right), seen.make_sighting(left)
        self.alone = seen.make_frame(self.camera, "hopper", seen.ago(minutes=5))
        seen.see(self.alone, "hopper", [self.hopper])
        # The ledger keeps the hashes of frames, and this one is the very picture that was enrolled: as if it were not.
        Frame.objects.filter(pk=self.alone.pk).update(sha256="f" * 64, metadata={"badge": "Ausweis-99"})
        FaceRejection.objects.create(identity=self.hopper, detection=left)
        watch = Watch.objects.create(collection=self.collection, name="Besuch-der-Admiralin", identity=self.hopper)
        at = seen.ago(hours=1)
        Alert.objects.create(
            watch=watch,
            camera=self.camera,
            identity=self.hopper,
            sighting=self.sighting,
            captured_at=at,
            last_hit_at=at,
            similarity=0.9,
        )
        Stranger.objects.create(identity=self.hopper, camera=self.camera, met_at=at)
        self.other_track = Track.objects.get(identity=self.collins)
        self.other_track.evidence = {"likenesses": [[str(self.hopper.pk), 0.31, True]]}
        self.other_track.candidates = [self.hopper.pk]
        self.other_track.save()

    def _told(self) -> None:
        shown = {"collection": self.collection, "shown_at": timezone.now(), "model": "describe"}
        Caption.objects.create(portrait=self.portrait, text="A woman in uniform-xyzzy.", **shown)
        Caption.objects.create(frame=self.alone, camera=self.camera, text="One person-xyzzy.", **shown)
        looked = Segmentation.objects.create(portrait=self.portrait, **shown)
        SceneObject.objects.create(
            segmentation=looked,
            collection=self.collection,
            shown_at=timezone.now(),
            label="tie-xyzzy",
            score=0.5,
            box=[0, 0, 1, 1],
            mask={"size": [1, 1], "counts": "1"},
        )

    def _asked(self) -> None:
        key = {"collection_id": self.collection.pk}
        Job.objects.create(kind="enrol", queue="ingest", subject_id=self.hopper.pk, **key)
        captions = Job.objects.create(kind="caption", queue="scenes", **key)
        people = [{"identity": str(self.hopper.pk), "box": [1, 2, 3, 4], "similarity": 0.9}]
        item = JobItem.objects.create(job=captions, index=0, state="done", result={"people": people, "caption": "x"})
        PersonInResult.objects.create(identity=self.hopper, item=item)
        clerk, _ = User.objects.get_or_create(username="clerk")
        # As Django itself writes it: the person's name.
        LogEntry.objects.log_actions(clerk.pk, [self.hopper], CHANGE, "[]", single_object=True)
        record(
            principal=system("tester"),
            action=Action.RECOGNIZE,
            collection_id=self.collection.pk,
            probe=b"probe",
            identities=[self.hopper.pk, self.collins.pk],
        )

    @property
    def ids(self) -> list[UUID]:
        return [self.hopper.pk, self.part.pk]

    def needles(self) -> dict[str, str]:
        """What must not be found anywhere in the database once the person is erased."""
        told = {f"vector {number}": text for number, text in enumerate(self._vectors())}
        return {
            "name": NAME,
            "old name": OLD_NAME,
            "part's name": "Admiral-Amazing",
            "external id": "hop-0815",
            "part's external id": "adm-77",
            "metadata": "Zimmer-4711-geheim",
            "consent": "Unterschrift-vom-Mai",
            "watch": "Besuch-der-Admiralin",
            "folder of an import": "Ordner-der-Admiralin",
            "what the caller said of a frame": "Ausweis-99",
            "captions": "xyzzy",
            "picture's hash": self.portrait.sha256,
            "id": str(self.hopper.pk),
            "part's id": str(self.part.pk),
        } | told

    def _vectors(self) -> list[str]:
        """The beginnings of all of their vectors, as PostgreSQL writes them."""
        found = []
        with connection.cursor() as cursor:
            for sql in (
                "SELECT vector::text FROM gallery_portraitembedding WHERE identity_id = %s",
                "SELECT e.vector::text FROM sightings_detectionembedding e"
                " JOIN sightings_detection d ON d.id = e.detection_id WHERE d.identity_id = %s",
            ):
                cursor.execute(sql, [self.hopper.pk])
                found += [",".join(row[0].split(",")[:3]) for row in cursor.fetchall()]
        return found


def haystack() -> dict[str, str]:
    """Every row of every table as text: arrays, JSON, vectors; bytes as hexadecimal, and as the text that they are."""
    found = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name FROM information_schema.tables"
            " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
        )
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            found[table] = "\n".join(row[0] for row in cursor.fetchall())
    return found


def remains(needles: dict[str, str]) -> list[str]:
    """Where what is found."""
    tables = haystack()
    found = [f"{what} in {table}" for what, text in needles.items() for table, rows in tables.items() if text in rows]
    hexed = {what: text.encode().hex() for what, text in needles.items()}
    return found + [
        f"{what} in bytes of {table}" for what, text in hexed.items() for table, rows in tables.items() if text in rows
    ]


def stored_files() -> dict[str, bytes]:
    """Everything in the storage, by path."""
    root = Path(settings.MEDIA_ROOT)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def an_hour_on() -> Any:
    return timezone.now() + timedelta(hours=1)
