"""Measurements of collections, and the thresholds that they set."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from portrait.calibration.drawing import draw
from portrait.calibration.measuring import measure
from portrait.calibration.models import CalibrationRun
from portrait.calibration.reporting import TooLittleDataError, report
from portrait.calibration.sampling import Bounds, nearest_others, sample
from portrait.core.database import still_there
from portrait.core.errors import ConflictError
from portrait.core.files import atomic_with_files, write_file
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import calibration_of

DEFAULT_FMR = 1e-4
SEED = 20_260_301
LOWEST, HIGHEST = 0.01, 2.0


def new_run(
    *,
    collection: Collection,
    fmr: float = DEFAULT_FMR,
    group_by: str | None = None,
    seed: int = SEED,
    actor: str = "",
    bounds: Bounds | None = None,
) -> CalibrationRun:
    """A measurement to be made. group_by: a key of people's metadata."""
    parameters = {"fmr": fmr, "group_by": group_by or None, "seed": seed} | asdict(bounds or Bounds())
    return CalibrationRun.objects.create(
        collection=collection, model=collection.active_model, parameters=parameters, actor=actor[:200]
    )


def carry_out(*, run: CalibrationRun) -> CalibrationRun:
    """Measure, and store report and picture. A collection with too little data is told so in the report."""
    return store(run=run, outcome=find_out(run=run))


def find_out(*, run: CalibrationRun) -> tuple[dict[str, Any], bytes | None]:
    """Report and picture of a run; no picture where it is refused. The slow part: it writes nothing.

    Raises:
        ConflictError: the collection got another embedding model meanwhile.
    """
    collection = Collection.objects.select_related("active_model").get(pk=run.collection_id)
    if collection.active_model_id != run.model_id:
        raise ConflictError("The collection got another embedding model meanwhile: calibrate again.")
    asked = dict(run.parameters)
    fmr, group_by, seed = asked.pop("fmr"), asked.pop("group_by"), asked.pop("seed")
    bounds = Bounds(**asked)
    found = sample(collection, seed=seed, bounds=bounds, group_by=group_by)
    measured = measure(found, most_pairs=bounds.pairs, seed=seed)
    nearest = nearest_others(collection, found, count=bounds.neighbours, seed=seed)
    try:
        told = report(
            found,
            measured,
            nearest=nearest,
            fmr=fmr,
            calibration=calibration_of(collection),
            seed=seed,
            bounds=bounds,
        )
    except TooLittleDataError as error:
        return {"refused": str(error), "people": {"known": found.known, "sampled": len(found.people)}}, None
    title = f"{collection.name}, {collection.active_model}: {told['pairs']['impostor']} pairs of people"
    return told, draw(measured, told, title=title)


def store(*, run: CalibrationRun, outcome: tuple[dict[str, Any], bytes | None]) -> CalibrationRun:
    """Write what came out; of a run that is done already nothing is changed."""
    told, picture = outcome
    with atomic_with_files():
        row = CalibrationRun.objects.select_for_update(of=("self",)).filter(pk=run.pk).first()
        if row is None:
            raise ConflictError("This calibration was deleted meanwhile.")
        if row.state == CalibrationRun.State.WAITING:
            row.state = CalibrationRun.State.REFUSED if picture is None else CalibrationRun.State.DONE
            row.report, row.threshold = _of_the_living(told), told.get("threshold")
            if picture is not None:
                write_file(row.picture, "curves.png", picture)
            row.save()
    run.refresh_from_db()
    return run


def _of_the_living(told: dict[str, Any]) -> dict[str, Any]:
    """Whoever was erased while it was measured is written into no list; the others cannot go before the commit."""
    pairs = told.get("suspects", [])
    there = still_there(Identity, {UUID(pair[side]) for pair in pairs for side in ("first", "second")})
    left = [pair for pair in pairs if UUID(pair["first"]) in there and UUID(pair["second"]) in there]
    return told | {"suspects": left} if pairs else told


def apply(*, run: CalibrationRun, actor: str) -> CalibrationRun:
    """Make the threshold that was found the collection's.

    Raises:
        ConflictError: it is not done, was refused, is in force already, or the collection has another embedding model
            by now; or the threshold is none that a collection may have.
    """
    with transaction.atomic():
        collection, row = _locked(run)
        if row.state != CalibrationRun.State.DONE or row.threshold is None:
            raise ConflictError(f"This calibration is {row.state}: there is no threshold to apply.")
        if row.in_force:
            raise ConflictError("This calibration was applied already, and is in force.")
        if collection.active_model_id != row.model_id:
            raise ConflictError("The collection has another embedding model by now: calibrate again.")
        if not LOWEST <= row.threshold <= HIGHEST:
            raise ConflictError(f"A threshold of {row.threshold} is none that a collection may have.")
        values = {"applied_at": timezone.now(), "reverted_at": None, "actor": actor[:200]}
        _set_threshold(collection, row.threshold)
        CalibrationRun.objects.filter(pk=row.pk).update(threshold_before=collection.threshold, **values)
    run.refresh_from_db()
    return run


def revert(*, run: CalibrationRun, actor: str) -> CalibrationRun:
    """Give the collection the threshold back that it had before.

    Raises:
        ConflictError: it is not in force; somebody changed the threshold, or the embedding model, since.
    """
    with transaction.atomic():
        collection, row = _locked(run)
        if not row.stands:
            raise ConflictError("This calibration is not in force.")
        if collection.active_model_id != row.model_id:
            raise ConflictError("The collection has another embedding model by now: the threshold before was not its.")
        if collection.threshold != row.threshold:
            raise ConflictError("The collection's threshold was changed since: set it by hand.")
        _set_threshold(collection, row.threshold_before)
        CalibrationRun.objects.filter(pk=row.pk).update(reverted_at=timezone.now(), actor=actor[:200])
    run.refresh_from_db()
    return run


def _locked(run: CalibrationRun) -> tuple[Collection, CalibrationRun]:
    """Both rows as they are now; two callers at once come one after the other."""
    collection = Collection.objects.select_for_update(of=("self",), no_key=True).get(pk=run.collection_id)
    row = CalibrationRun.objects.select_for_update(of=("self",)).get(pk=run.pk)
    row.collection = collection
    return collection, row


def _set_threshold(collection: Collection, threshold: float | None) -> None:
    Collection.objects.filter(pk=collection.pk).update(threshold=threshold, updated_at=timezone.now())


def forget(*, identity_id: UUID) -> None:
    """Take a person out of the lists of pairs that look like one."""
    key = str(identity_id)
    rows = CalibrationRun.objects.filter(report__icontains=key)
    for run in rows.only("pk").order_by("pk"):
        with transaction.atomic():
            row = CalibrationRun.objects.select_for_update(of=("self",)).get(pk=run.pk)
            pairs = row.report.get("suspects", [])
            left = [pair for pair in pairs if key not in (pair["first"], pair["second"])]
            row.report = row.report | {"suspects": left}
            row.save(update_fields=["report", "updated_at"])
