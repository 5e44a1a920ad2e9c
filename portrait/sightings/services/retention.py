"""What the cameras' rules keep no longer. By small transactions, within a time: what is left is for the next run.

Two runs at once do no harm: each part is done under the camera's lock, and finds what is still there. A sighting that
lasts into the time that is kept keeps all of its faces, and its best picture is cut out before the frame's goes.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from operator import itemgetter

from django.db import IntegrityError, OperationalError, transaction
from django.db.models import BooleanField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from portrait.cameras.models import Camera, Frame, FrameState
from portrait.core.errors import ConflictError
from portrait.core.files import atomic_with_files
from portrait.gallery.models import Identity
from portrait.gallery.services.grace import grace_began
from portrait.gallery.services.identities import delete_identity
from portrait.sightings.models import Alert, Detection, Sighting, Stranger, Watch
from portrait.sightings.services.erasure import delete_faces, lock_timelines, remove_pictures
from portrait.sightings.services.pictures import prepare_cut_outs

logger = logging.getLogger(__name__)

BUDGET_S = 300.0
FRAMES_A_STEP, ROWS_A_STEP = 100, 1000
KEEP_ROWS = timedelta(days=30)
"""Rows of frames without a picture and without a face are kept for so long after it, as a proof of what came in."""
WITHOUT_CAMERA_H = 720
"""Hours that unknown people are kept whose camera was deleted."""
_NOBODY = ~Exists(Detection.objects.filter(frame=OuterRef("pk")))


@dataclass(slots=True)
class Expired:
    """How much went. `cut_outs`: pictures of sightings that were saved first. `unfinished`: the time was up."""

    pictures: int = 0
    cut_outs: int = 0
    faces: int = 0
    sightings: int = 0
    strangers: int = 0
    alerts: int = 0
    frames: int = 0
    unfinished: bool = False


@dataclass(slots=True)
class _Run:
    now: datetime
    until_s: float
    done: Expired = field(default_factory=Expired)

    def repeat(self, step: Callable[[], int]) -> None:
        """Do a step until it finds nothing any more, or the time is up."""
        while True:
            if time.monotonic() >= self.until_s:
                self.done.unfinished = True
                return
            if not step():
                return

    def before(self, hours: int) -> datetime:
        return self.now - timedelta(hours=hours)


def expire_due(*, now: datetime | None = None, budget_s: float = BUDGET_S) -> Expired:
    """Remove what is due, camera by camera; one that fails is logged and does not stop the others."""
    run = _Run(now or timezone.now(), time.monotonic() + budget_s)
    for camera in Camera.objects.order_by("?"):  # so that a busy one never keeps the others from their turn for good
        try:
            _expire(run, camera)
        except Exception:
            logger.exception("what camera %s keeps no longer could not all be removed", camera.pk)
    try:
        _forget_strangers(run, Stranger.objects.filter(camera=None), run.before(WITHOUT_CAMERA_H))
    except Exception:
        logger.exception("unknown people whose camera was deleted could not all be removed")
    logger.info("retention: %s", run.done)
    return run.done


def _expire(run: _Run, camera: Camera) -> None:
    unnamed = run.before(camera.keep_unnamed_h)
    named = run.before(camera.keep_named_h) if camera.keep_named_h is not None else None
    run.repeat(lambda: _remove_pictures(run, camera))
    _expire_seen(run, camera, Identity.Kind.UNKNOWN, unnamed)
    run.repeat(lambda: _delete_faces(run, camera, Detection.objects.filter(identity=None), unnamed))
    _forget_strangers(run, Stranger.objects.filter(camera=camera), unnamed)
    if named is not None:
        _expire_seen(run, camera, Identity.Kind.KNOWN, named)
    run.repeat(lambda: _delete_alerts(run, camera, Identity.Kind.UNKNOWN, unnamed))
    if named is not None:
        run.repeat(lambda: _delete_alerts(run, camera, Identity.Kind.KNOWN, named))
    run.repeat(lambda: _delete_parked(camera))
    run.repeat(lambda: _advance(run, camera))
    run.repeat(lambda: _delete_behind(run, camera))


def _expire_seen(run: _Run, camera: Camera, kind: Identity.Kind, before: datetime) -> None:
    run.repeat(lambda: _delete_sightings(run, camera, kind, before))
    run.repeat(lambda: _delete_faces(run, camera, Detection.objects.filter(identity__kind=kind), before))


def _remove_pictures(run: _Run, camera: Camera) -> int:
    """Of ended frames; a waiting one is never touched, however old it is."""
    before = run.before(camera.keep_frames_h)
    old = Frame.objects.filter(camera=camera, captured_at__lt=before, finished_at__lt=before)
    ended = old.filter(state__in=[FrameState.DONE, FrameState.FAILED]).order_by("captured_at")
    ids = list(ended.values_list("pk", flat=True)[:FRAMES_A_STEP])
    prepared = prepare_cut_outs(ids)
    with atomic_with_files():
        lock_timelines([camera.pk])
        # Locked, so that none of them is given back to the workers meanwhile.
        frames = list(ended.filter(pk__in=ids).select_for_update(of=("self",), skip_locked=True))
        message = f"Frames' pictures of this camera are kept for {camera.keep_frames_h} hours."
        saved = remove_pictures(frames, prepared, code="expired", message=message)
    run.done.pictures += len(frames)
    run.done.cut_outs += saved
    return len(frames)


def _delete_sightings(run: _Run, camera: Camera, kind: Identity.Kind, before: datetime) -> int:
    """Their pictures follow by `files`. One with a face that is kept, as its frame came in late, is kept too."""
    kept = Detection.objects.filter(
        camera=camera,
        identity=OuterRef("identity"),
        captured_at__range=(OuterRef("first_seen"), OuterRef("last_seen")),
        frame__finished_at__gte=before,
    )
    with transaction.atomic():
        lock_timelines([camera.pk])
        over = Sighting.everything.filter(~Exists(kept), camera=camera, identity__kind=kind, last_seen__lt=before)
        ids = list(over.order_by("last_seen").values_list("pk", flat=True)[:ROWS_A_STEP])
        Sighting.everything.filter(pk__in=ids).delete()
    run.done.sightings += len(ids)
    return len(ids)


def _delete_parked(camera: Camera) -> int:
    """Sightings that only waited for the undo of an edit, whose time is over."""
    with transaction.atomic():
        lock_timelines([camera.pk])
        over = Sighting.everything.filter(camera=camera, parked_at__lt=grace_began())
        ids = list(over.values_list("pk", flat=True)[:ROWS_A_STEP])
        Sighting.everything.filter(pk__in=ids).delete()
    return len(ids)


def _delete_faces(run: _Run, camera: Camera, faces: "QuerySet[Detection]", before: datetime) -> int:
    """Of frames that ended as long ago: one that came in late is kept as long as any."""
    lasting = Sighting.objects.filter(
        camera=camera,
        identity=OuterRef("identity"),
        first_seen__lte=OuterRef("captured_at"),
        last_seen__gte=OuterRef("captured_at"),
    )
    with transaction.atomic():
        lock_timelines([camera.pk])
        old = faces.filter(~Exists(lasting), camera=camera, captured_at__lt=before, frame__finished_at__lt=before)
        ids = list(old.order_by("captured_at").values_list("pk", flat=True)[:ROWS_A_STEP])
        delete_faces(ids)
    run.done.faces += len(ids)
    return len(ids)


def _forget_strangers(run: _Run, strangers: "QuerySet[Stranger]", before: datetime) -> None:
    """Unknown people who were met long ago and not seen since on any camera; not those whom somebody looks for."""
    for identity in Identity.objects.filter(_forgotten(before), stranger__in=strangers).iterator(ROWS_A_STEP):
        if time.monotonic() >= run.until_s:
            run.done.unfinished = True
            return
        try:
            with atomic_with_files():
                # Who stores a new face of theirs waits for this lock, and then finds them gone.
                locked = Identity.objects.select_for_update(of=("self",)).filter(pk=identity.pk).first()
                if locked is None or not Identity.objects.filter(_forgotten(before), pk=identity.pk).exists():
                    continue
                delete_identity(identity=locked)
        except (ConflictError, IntegrityError, OperationalError) as error:
            logger.warning("the unknown person %s stays until the next run: %s", identity.pk, error)
        else:
            run.done.strangers += 1


def _forgotten(before: datetime) -> Q:
    mine = {"identity": OuterRef("pk")}
    return Q(
        ~Exists(Sighting.objects.filter(**mine)),
        ~Exists(Detection.objects.filter(**mine)),
        ~Exists(Watch.objects.filter(**mine)),
        kind=Identity.Kind.UNKNOWN,
        merged_into=None,  # who was merged goes with whom they are a part of
        merged=None,  # whose past may be on its way
        stranger__met_at__lt=before,
    )


def _delete_alerts(run: _Run, camera: Camera, kind: Identity.Kind, before: datetime) -> int:
    """Alerts whose sighting is gone, or never opened."""
    old = Alert.objects.filter(camera=camera, sighting=None, identity__kind=kind, captured_at__lt=before)
    ids = list(old.order_by("pk").values_list("pk", flat=True)[:ROWS_A_STEP])
    Alert.objects.filter(pk__in=ids, sighting=None).delete()
    run.done.alerts += len(ids)
    return len(ids)


def _advance(run: _Run, camera: Camera) -> int:
    """Rows of frames whose picture is long gone and in which nobody is; those with a face stay.

    In the order of their sequences, up to the first that is kept for its time: so the audit knows of every sequence
    whether its row may be gone (`pruned_below`), however their capture times lie. Answers how many were looked at.
    """
    due = ExpressionWrapper(_row_due(run, camera), output_field=BooleanField())
    with transaction.atomic():
        pruned = Camera.objects.values_list("pruned_below", flat=True).filter(pk=camera.pk).first() or 0
        beyond = Frame.objects.filter(camera=camera, sequence__gte=pruned).annotate(due=due).order_by("sequence")
        rows = list(takewhile(itemgetter(2), beyond.values_list("pk", "sequence", "due")[:ROWS_A_STEP]))
        if rows:
            Camera.objects.filter(pk=camera.pk).update(pruned_below=Greatest("pruned_below", rows[-1][1] + 1))
        run.done.frames += _delete_empty(camera, [row[0] for row in rows])
    return len(rows)


def _delete_behind(run: _Run, camera: Camera) -> int:
    """Rows that stayed for a face, which is gone by now."""
    behind = Frame.objects.filter(_row_due(run, camera), camera=camera)
    pruned = Camera.objects.values_list("pruned_below", flat=True).filter(pk=camera.pk).first() or 0
    ids = list(behind.filter(_NOBODY, sequence__lt=pruned).values_list("pk", flat=True)[:ROWS_A_STEP])
    run.done.frames += _delete_empty(camera, ids)
    return len(ids)


def _row_due(run: _Run, camera: Camera) -> Q:
    before = run.before(camera.keep_frames_h) - KEEP_ROWS
    return Q(captured_at__lt=before, finished_at__lt=before, state=FrameState.EXPIRED, picture="")


def _delete_empty(camera: Camera, ids: Sequence[int]) -> int:
    """Those of these rows that are expired and in which nobody is; the camera's account knows how many."""
    with transaction.atomic():
        empty = Frame.objects.filter(_NOBODY, pk__in=ids, state=FrameState.EXPIRED)
        deleted = empty.delete()[1].get(Frame._meta.label, 0)
        if deleted:
            Camera.objects.filter(pk=camera.pk).update(pruned=F("pruned") + deleted)
    return deleted
