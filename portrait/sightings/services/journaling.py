"""What sightings add to the journal of the gallery: rows that follow people, history, faces that were rejected."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from django.db.models import Exists, F, OuterRef
from django.dispatch import receiver
from numpy.typing import NDArray

from portrait.core.errors import ConflictError
from portrait.gallery import rejections
from portrait.gallery.models import Change, Collection, Identity
from portrait.gallery.services.journal import Edit
from portrait.gallery.services.journal_rows import record
from portrait.gallery.signals import change_made, change_undoing, identity_going, identity_held, people_merging
from portrait.gallery.vectors import distance_to
from portrait.sightings.models import Alert, DetectionEmbedding, FaceRejection, HistoryMove, Watch
from portrait.sightings.services import history
from portrait.sightings.services.history_moves import seen_of


def connect() -> None:
    """Once, when the app starts; the receivers are connected by importing this."""
    record("watch", Watch, ["identity"])
    record("alert", Alert, ["identity"])
    record("face_rejection", FaceRejection, ["identity", "detection"])
    there = Exists(FaceRejection.objects.filter(identity=OuterRef("pk")))
    rejections.register(rejections.Source(there, _distances))


def _distances(
    collection: Collection, vector: NDArray[np.float32], identity_ids: Iterable[UUID]
) -> Mapping[UUID, float]:
    model, wanted = collection.active_model, set(identity_ids)
    rows = DetectionEmbedding.objects.filter(model=model, detection__rejections__identity__in=wanted)
    rows = rows.annotate(who=F("detection__rejections__identity"), distance=distance_to(model, vector))
    return rejections.nearest(rows.values_list("who", "distance"), wanted)


@receiver(people_merging)
def carry(sender: type[Identity], edit: Edit, target: Identity, sources: Sequence[Identity], **kwargs: Any) -> None:
    """Watches, alerts and rejected faces of the sources are the target's."""
    everybody = [target, *sources]
    edit.set(Watch.objects.filter(identity__in=sources).order_by("pk"), "identity", target.pk)
    edit.set(Alert.objects.filter(identity__in=sources).order_by("pk"), "identity", target.pk)
    rejected = FaceRejection.objects.order_by("pk")
    edit.delete(rejected.filter(identity__in=everybody, detection__identity__in=everybody))
    have = set(rejected.filter(identity=target).values_list("detection_id", flat=True))
    for row in rejected.filter(identity__in=sources):
        if row.detection_id not in have:
            have.add(row.detection_id)
            edit.create(FaceRejection, identity=target, detection_id=row.detection_id)


@receiver(change_made)
def follow(sender: type[Change], change: Change, **kwargs: Any) -> None:
    history.follow(change)


@receiver(change_undoing)
def refuse(sender: type[Change], change: Change, **kwargs: Any) -> None:
    history.refuse_if_moved_since(change)


@receiver(identity_held)
def holds(sender: type[Identity], identity_id: UUID, **kwargs: Any) -> bool:
    """Who is looked for is not taken back; what was seen goes back by the job."""
    watch = Watch.objects.filter(identity_id=identity_id).first()
    if watch is not None:
        raise ConflictError(f"The watch {watch.name!r} looks for this person: remove it first.")
    return seen_of(identity_id)


@receiver(identity_going)
def forget_moves(sender: type[Identity], identity_id: UUID, **kwargs: Any) -> None:
    """The ledger names people by their ids; changes about somebody who is erased are never undone."""
    HistoryMove.objects.filter(before=identity_id).delete()
    HistoryMove.objects.filter(after=identity_id).delete()
