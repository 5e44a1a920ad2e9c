"""From waiting frames to what was seen in them: claim, networks without a transaction, one short transaction."""

import logging
from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.utils import timezone

from inference.codec import decode
from inference.errors import CorruptImageError, ImageError, InferenceError
from inference.faces.embed import Embedder
from inference.types import FaceAnalysis, Image
from portrait.cameras.models import Camera, Frame
from portrait.cameras.services import ledger
from portrait.cameras.services.ledger import Claim
from portrait.core.database import release_connection
from portrait.core.files import atomic_with_files
from portrait.core.pipelines import codec_limits, face_pipeline, further_embedders
from portrait.gallery.services import spaces
from portrait.gallery.services.photos import CHUNK_PIXELS, slow_work
from portrait.gallery.vectors import NotEmbeddedError
from portrait.sightings.services import strangers, timeline
from portrait.sightings.services.tracks import SeenFrame
from portrait.sightings.signals import frames_done

logger = logging.getLogger(__name__)

BATCH = 8
"""So many frames are analysed in one call when several wait."""
LARGE_BATCH = 32
"""The same when the backlog is long, and they are small."""
MAX_CRASHES = 5
MAX_FAILURES = 5
LONGEST_PAUSE_S = 30
UNREADABLE_AFTER = timedelta(hours=24)
"""So long a frame waits for its picture where the store answers with errors."""

DatabaseDown = (OperationalError, InterfaceError)


def process(*, frame_ids: Sequence[int]) -> int:
    """Process these frames, and while there is room others that wait; answers how many were taken.

    What is not ended here waits in the ledger for its next try.
    """
    frame_ids = ledger.not_done_here(frame_ids)
    if not frame_ids:
        return 0
    with slow_work():  # a claim begins to run out when it is made: not before there is a place to work
        claim = ledger.claim(frame_ids=frame_ids, limit=BATCH, limit_under_load=LARGE_BATCH)
        if claim is None:
            return 0
        work = _give_up_killers(claim)
        release_connection()
        analyses = _analyse(claim, work) if work else {}
    if analyses:
        _store(claim, [frame for frame in work if frame.pk in analyses], analyses)
        strangers.register_due(camera_ids=list({frame.camera_id for frame in work}))
    return len(claim.frames)


def pause_s(tries: int) -> float:
    """How long a frame waits after so many tries."""
    return float(min(2 ** min(tries, 10), LONGEST_PAUSE_S))


def _give_up_killers(claim: Claim) -> list[Frame]:
    """The frames to work on; one with which worker after worker vanished has failed."""
    for frame in claim.frames:
        if frame.crashes >= MAX_CRASHES:
            message = f"{frame.crashes} workers vanished, or took too long, while they had this frame"
            ledger.fail(lease=claim.lease, frame_ids=[frame.pk], code="worker_lost", message=message)
    return [frame for frame in claim.frames if frame.crashes < MAX_CRASHES]


def _analyse(claim: Claim, frames: Sequence[Frame]) -> dict[int, FaceAnalysis]:
    """What the networks find, by frame; frames for which there is no answer are given back, or have failed."""
    try:
        return _looked_at(claim, frames)
    except InferenceError as error:
        if error.retryable:
            _wait(claim, frames, error)
            return {}
        return _one_by_one(claim, frames, error)
    except Exception as error:
        return _one_by_one(claim, frames, error)


def _one_by_one(claim: Claim, frames: Sequence[Frame], error: Exception) -> dict[int, FaceAnalysis]:
    """A frame that spoils a batch fails alone."""
    if len(frames) == 1:
        _after_failure(claim, frames[0], error)
        return {}
    return {key: found for frame in frames for key, found in _analyse(claim, [frame]).items()}


def _looked_at(claim: Claim, frames: Sequence[Frame]) -> dict[int, FaceAnalysis]:
    """Decode and analyse, about `CHUNK_PIXELS` at a time; a picture that cannot be read stops no other."""
    analyses: dict[int, FaceAnalysis] = {}
    chunk: list[tuple[int, Image]] = []
    also = _further_networks(frames)
    for frame in frames:
        image = _read(claim, frame)
        if image is not None:
            chunk.append((frame.pk, image))
        if sum(image.shape[0] * image.shape[1] for _, image in chunk) >= CHUNK_PIXELS / 2:
            analyses |= _analysed(chunk, also)
            chunk = []
    return analyses | _analysed(chunk, also)


def _further_networks(frames: Sequence[Frame]) -> list[Embedder]:
    """Those that collections of these frames need beside the usual one."""
    collections = Camera.objects.filter(pk__in={frame.camera_id for frame in frames}).values_list(
        "collection_id", flat=True
    )
    also = further_embedders(spaces.networks_of(collections))
    release_connection()
    return also


def _analysed(chunk: Sequence[tuple[int, Image]], also: Sequence[Embedder]) -> dict[int, FaceAnalysis]:
    found = face_pipeline().analyse([image for _, image in chunk], also=also)
    return {key: analysis for (key, _), analysis in zip(chunk, found, strict=True)}


def _read(claim: Claim, frame: Frame) -> Image | None:
    try:
        with frame.picture.open("rb") as file:
            data = file.read()
        return decode(data, limits=codec_limits())
    except (FileNotFoundError, ValueError):  # ValueError: the row names no file
        ledger.fail(
            lease=claim.lease, frame_ids=[frame.pk], code="picture_missing", message="The picture's file is gone."
        )
    except ImageError as error:
        ledger.fail(lease=claim.lease, frame_ids=[frame.pk], code=error.code, message=_told(error))
    except OSError as error:  # the frame store is away, or has lost this one
        if timezone.now() - frame.waits_since < UNREADABLE_AFTER:
            _wait(claim, [frame], error)
        else:
            message = f"The picture could not be read for a day: {error}"
            ledger.fail(lease=claim.lease, frame_ids=[frame.pk], code="picture_unreadable", message=message)
    release_connection()
    return None


def _told(error: ImageError) -> str:
    """Sent again with its sequence it would be met as the one that is here, or as another picture of that sequence."""
    mend = ", with another sequence" if isinstance(error, CorruptImageError) else ""
    return f"{error}{mend}"


def _store(claim: Claim, frames: Sequence[Frame], analyses: dict[int, FaceAnalysis]) -> None:
    """Commit what was found; a frame that cannot be stored does not stop the others."""
    ordered = sorted(frames, key=lambda frame: (frame.camera_id, frame.pk))
    for camera_id, group in groupby(ordered, key=lambda frame: frame.camera_id):
        seen = [SeenFrame(frame, analyses[frame.pk]) for frame in group]
        try:
            _commit(claim, camera_id, seen)
        except DatabaseDown as error:
            logger.warning("%d frames wait, the database does not answer: %s", len(seen), error)
            _quietly_wait(claim, [each.frame for each in seen], error)
        except NotEmbeddedError as error:  # the collection got another network after this one looked
            _wait(claim, [each.frame for each in seen], error)
        except Exception as error:
            if len(seen) == 1:
                _after_failure(claim, seen[0].frame, error)
                continue
            for each in seen:
                _store(claim, [each.frame], analyses)


def _commit(claim: Claim, camera_id: UUID, seen: Sequence[SeenFrame]) -> None:
    """The one transaction: only for frames that are still ours, and all of it or nothing."""
    with atomic_with_files():
        timeline.lock(camera_id)
        mine = ledger.lock_owned(claim.lease, [each.frame.pk for each in seen])
        kept = [each for each in seen if each.frame.pk in mine]
        if not kept:
            return
        camera = Camera.objects.select_related("collection__active_model").get(pk=camera_id)
        models = spaces.lock_models(camera.collection_id)
        camera.collection = models.collection  # as it stays until the end of this
        work = timeline.record(camera=camera, model=models.active, seen=kept, kept=models.kept)
        ledger.finish(lease=claim.lease, frame_ids=mine)
        _tell(camera, [each.frame for each in kept])
    strangers.forget_unseen(identity_ids=[key for key, touch in work.touches.items() if touch.since is not None])


def _tell(camera: Camera, frames: Sequence[Frame]) -> None:
    """Whoever does more with frames; what goes wrong there is not the frames' fault."""
    try:
        with transaction.atomic():
            frames_done.send(Frame, camera=camera, frames=frames)
    except DatabaseDown:
        raise
    except Exception:
        logger.exception("what was to follow %d frames of camera %s was left out", len(frames), camera.pk)


def _wait(claim: Claim, frames: Sequence[Frame], error: Exception) -> None:
    """A server that the work needs is away: frames wait for it as long as it takes."""
    logger.warning("%d frames wait: %s", len(frames), error)
    tries = max(frame.attempts for frame in frames)
    ledger.give_back(lease=claim.lease, frame_ids=[frame.pk for frame in frames], pause_s=pause_s(tries))


def _quietly_wait(claim: Claim, frames: Sequence[Frame], error: Exception) -> None:
    """As `_wait`; where the database does not even take that, the lease runs out."""
    try:
        _wait(claim, frames, error)
    except DatabaseDown:
        logger.warning("the lease of %d frames has to run out", len(frames))


def _after_failure(claim: Claim, frame: Frame, error: Exception) -> None:
    """Nobody foresaw this error: a few more tries."""
    failures = frame.failures + 1
    if failures < MAX_FAILURES and not isinstance(error, InferenceError):
        ledger.give_back(lease=claim.lease, frame_ids=[frame.pk], pause_s=pause_s(failures), failed=True)
    else:
        code = error.code if isinstance(error, InferenceError) else "internal_error"
        what = str(error) if isinstance(error, InferenceError) else f"{type(error).__name__}: see the worker's log"
        message = f"{what} (given up after {failures} failures)"
        ledger.fail(lease=claim.lease, frame_ids=[frame.pk], code=code, message=message, failed=True)
    logger.error("frame %s failed", frame, exc_info=error)
