"""All that we have of one person, section by section, without anything of anybody else.

Other people stand in many rows beside this one: in a merge, in a pair that is said to be two people, in a picture with
several. What is told of such a row is what it says of this person; the others are counted, not named.
"""

import base64
from collections.abc import Callable, Iterator
from typing import Any

from django.db.models import Count

from portrait.audit.selectors import entries_about
from portrait.gallery.models import Change, Distinct, Identity, Portrait, PortraitEmbedding, Rejection
from portrait.gallery.vectors import stored_vector
from portrait.jobs.models import Job
from portrait.privacy.inventory import People, rows_of
from portrait.scenes.models import Caption, SceneObject
from portrait.sightings.models import Alert, Detection, DetectionEmbedding, FaceRejection, Sighting, Track, Watch

CHUNK = 500
Rows = Iterator[dict[str, Any]]


def identities(people: People) -> Rows:
    for row in Identity.objects.filter(pk__in=people).select_related("collection").order_by("created_at"):
        stranger = getattr(row, "stranger", None)
        yield {
            "id": row.pk,
            "collection": row.collection.name,
            "name": row.name,
            "external_id": row.external_id,
            "metadata": row.metadata,
            "action": row.action,
            "kind": row.kind,
            "hidden": row.hidden,
            "merged_into": row.merged_into_id,
            "created_at": row.created_at,
            "updated_at": row.updated_at,
            "deleted_at": row.deleted_at,
            "consent": row.consent,
            "keep_until": row.keep_until,
            "first_met_at": stranger.met_at if stranger else None,
        }


def _vector(row: PortraitEmbedding | DetectionEmbedding) -> dict[str, Any]:
    data = stored_vector(row).astype("<f4")
    return {
        "model": f"{row.model.name} {row.model.version}",
        "dims": len(data),
        "precision": "single" if row.half is None else "half",
        "float32_le_base64": base64.b64encode(data.tobytes()).decode(),
    }


def portraits(people: People) -> Rows:
    rows = Portrait.objects.filter(identity__in=people).order_by("created_at", "pk")
    for row in rows.prefetch_related("embeddings__model").iterator(CHUNK):
        yield {
            "id": row.pk,
            "identity": row.identity_id,
            "created_at": row.created_at,
            "deleted_at": row.deleted_at,
            "image": f"portraits/{row.pk}.jpg",
            "size": [row.width, row.height],
            "box": row.box,
            "landmarks": row.landmarks,
            "detector": row.detector,
            "score": row.score,
            "quality": row.quality,
            "sha256_of_the_upload": row.sha256,
            "vectors": [_vector(each) for each in row.embeddings.all()],
        }


def sightings(people: People) -> Rows:
    rows = Sighting.everything.filter(identity__in=people).select_related("camera").order_by("first_seen", "pk")
    for row in rows.iterator(CHUNK):
        yield {
            "id": row.pk,
            "camera": row.camera.name,
            "first_seen": row.first_seen,
            "last_seen": row.last_seen,
            "hits": row.hits,
            "similarity": row.similarity,
            "picture": f"sightings/{row.pk}.jpg",
        }


def faces(people: People) -> Rows:
    rows = Detection.objects.filter(pk__in=rows_of("sightings.Detection", people).values("pk"))
    rows = rows.select_related("camera").prefetch_related("embeddings__model").order_by("captured_at", "pk")
    for row in rows.iterator(CHUNK):
        yield {
            "id": row.pk,
            "camera": row.camera.name,
            "frame": row.frame_id,
            "captured_at": row.captured_at,
            "box": row.box,
            "landmarks": row.landmarks,
            "score": row.score,
            "quality": row.quality,
            "similarity": row.similarity,
            "vectors": [_vector(each) for each in row.embeddings.all()],
        }


def tracks(people: People) -> Rows:
    rows = Track.objects.filter(identity__in=people).select_related("camera").order_by("first_seen", "pk")
    for row in rows.iterator(CHUNK):
        yield {
            "id": row.pk,
            "camera": row.camera.name,
            "first_seen": row.first_seen,
            "last_seen": row.last_seen,
            "frames": row.frames,
            "similarity": row.similarity,
            "said_by_hand": row.pinned,
        }


def watches(people: People) -> Rows:
    for row in Watch.objects.filter(identity__in=people).prefetch_related("cameras").order_by("created_at"):
        cameras = None if row.all_cameras else [camera.name for camera in row.cameras.all()]
        yield {"id": row.pk, "created_at": row.created_at, "enabled": row.enabled, "cameras": cameras}


def alerts(people: People) -> Rows:
    for row in Alert.objects.filter(identity__in=people).select_related("camera").order_by("pk").iterator(CHUNK):
        yield {
            "id": row.pk,
            "camera": row.camera.name,
            "captured_at": row.captured_at,
            "similarity": row.similarity,
            "acknowledged_at": row.acknowledged_at,
        }


def captions(people: People) -> Rows:
    """What was told of pictures that show them; a sentence names nobody."""
    rows = Caption.objects.filter(pk__in=rows_of("scenes.Caption", people).values("pk"))
    for row in rows.order_by("pk").iterator(CHUNK):
        yield {
            "portrait": row.portrait_id,
            "frame": row.frame_id,
            "shown_at": row.shown_at,
            "model": row.model,
            "text": row.text,
        }


def objects(people: People) -> Rows:
    """What was found in their portraits, and beside them in frames: there without the place, which may be another's."""
    rows = SceneObject.objects.filter(pk__in=rows_of("scenes.SceneObject", people).values("pk"))
    for row in rows.select_related("segmentation").order_by("pk").iterator(CHUNK):
        portrait = row.segmentation.portrait_id
        told = {"portrait": portrait, "frame": row.segmentation.frame_id, "label": row.label, "score": row.score}
        yield told | ({"box": row.box} if portrait else {})


def journal(people: People) -> Rows:
    """What was changed of them, and when. Steps about others are left out."""
    own = {str(each) for each in people}
    for row in Change.objects.filter(identities__overlap=list(people)).order_by("pk").iterator(CHUNK):
        steps = [
            {name: value for name, value in step.items() if name in ("op", "field", "before", "after")}
            for step in row.steps
            if step.get("model") == "identity" and str(step.get("pk")) in own and step.get("field") != "merged_into"
        ]
        yield {
            "id": row.pk,
            "at": row.at,
            "action": row.action,
            "changes": steps,
            "other_people": sum(str(each) not in own for each in row.identities),
        }


def constraints(people: People) -> Rows:
    """What people said they are not; whose face or who the other is, is not told."""
    for row in Rejection.objects.filter(identity__in=people).order_by("created_at"):
        yield {"kind": "not the face of a portrait", "at": row.created_at}
    for face in FaceRejection.objects.filter(identity__in=people).order_by("created_at"):
        yield {"kind": "not a face that was seen", "at": face.created_at}
    pairs = Distinct.objects.filter(first__in=people) | Distinct.objects.filter(second__in=people)
    for pair in pairs.order_by("created_at"):
        yield {"kind": "not the same person as somebody else", "at": pair.created_at}


def suggestions(people: People) -> Rows:
    for row in _plain("curation.Suggestion", people):
        others = sum(each not in set(people) for each in row.identities)
        yield {
            "kind": row.kind,
            "state": row.state,
            "created_at": row.created_at,
            "decided_at": row.decided_at,
            "score": row.score,
            "other_people": others,
        }


def imports(people: People) -> Rows:
    for row in _plain("transfer.ImportPerson", people):
        told = {"folder": row.folder, "name": row.name, "external_id": row.external_id}
        yield told | {"import": row.run_id, "metadata": row.values}
    for row in _plain("transfer.ImportFile", people):
        told = {"import": row.run_id, "path": row.path, "status": row.status, "reason": row.message}
        yield told | {"sha256_of_the_upload": row.sha256}
    for row in _plain("transfer.ImportedName", people):
        yield {"imported_as": row.key}


def _plain(label: str, people: People) -> Iterator[Any]:
    yield from rows_of(label, people).order_by("pk").iterator(CHUNK)


def jobs(people: People) -> Rows:
    """Work that was about them. Its results may name others: only how much there was is told."""
    for row in Job.objects.filter(subject_id__in=people).annotate(count=Count("items")).order_by("created_at"):
        told = {"id": row.pk, "kind": row.kind, "created_at": row.created_at, "finished_at": row.finished_at}
        yield told | {"pictures": row.count}


def exports(people: People) -> Rows:
    for row in _plain("privacy.SubjectExport", people):
        yield {"id": row.pk, "created_at": row.created_at, "downloads": row.downloads}


def audit(people: People) -> Rows:
    """Requests whose answer named them, or that were about them. Who asked is told by its kind; of the details only
    numbers and settings, as ids there may be of others."""
    for row in entries_about(people).order_by("id").iterator(CHUNK):
        details = {name: value for name, value in row.details.items() if isinstance(value, bool | int | float)}
        yield {
            "id": row.pk,
            "at": row.at,
            "action": row.action,
            "by": row.actor_kind,
            "details": details,
            "sha256_of_the_picture": row.probe_sha256,
            "other_people": max(0, len(row.subjects) - 1),
        }


SECTIONS: dict[str, Callable[[People], Rows]] = {
    "identities": identities,
    "portraits": portraits,
    "sightings": sightings,
    "faces": faces,
    "tracks": tracks,
    "watches": watches,
    "alerts": alerts,
    "captions": captions,
    "objects": objects,
    "journal": journal,
    "constraints": constraints,
    "suggestions": suggestions,
    "imports": imports,
    "jobs": jobs,
    "exports": exports,
    "audit": audit,
}
