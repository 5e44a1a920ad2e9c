"""Calibrations on the queue `reindex`: one item each."""

import uuid
from typing import Any

from django.db import transaction

from portrait.calibration.models import CalibrationRun
from portrait.calibration.services import runs
from portrait.core.errors import NotFoundError
from portrait.gallery.models import Collection
from portrait.jobs.models import Job, JobItem
from portrait.jobs.services import create_job
from portrait.jobs.tasks import enqueue_job

CALIBRATE, QUEUE = "calibrate", "reindex"


def start_calibration(
    *,
    collection: Collection,
    fmr: float,
    group_by: str | None = None,
    actor: str = "",
    api_key_id: uuid.UUID | None = None,
) -> tuple[CalibrationRun, Job]:
    """Measure a collection through the queue."""
    with transaction.atomic():
        run = runs.new_run(collection=collection, fmr=fmr, group_by=group_by, actor=actor)
        job = create_job(
            kind=CALIBRATE,
            queue=QUEUE,
            collection_id=collection.pk,
            items=1,
            parameters={"run": str(run.pk)},
            api_key_id=api_key_id,
        )
        CalibrationRun.objects.filter(pk=run.pk).update(job_id=job.pk)
        transaction.on_commit(lambda: enqueue_job(job))
    run.refresh_from_db()
    return run, job


class CalibrateHandler:
    """Job kind `calibrate`: parameter run."""

    def prepare(self, item: JobItem) -> tuple[CalibrationRun, tuple[dict[str, Any], bytes | None]]:
        run = CalibrationRun.objects.filter(pk=item.job.parameters["run"]).first()
        if run is None:
            raise NotFoundError("This calibration was deleted meanwhile.")
        return run, runs.find_out(run=run)

    def store(
        self, item: JobItem, prepared: tuple[CalibrationRun, tuple[dict[str, Any], bytes | None]]
    ) -> dict[str, Any]:
        run, outcome = prepared
        runs.store(run=run, outcome=outcome)
        return {"calibration": str(run.pk), "state": run.state, "threshold": run.threshold}
