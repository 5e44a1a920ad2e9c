"""What beat starts, and when, unless somebody changes it in the admin: these rows are made once and then theirs."""

from dataclasses import dataclass

from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

MINUTE, HOUR, DAY = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class Entry:
    """A task that runs by schedule. expires_s: a message that waits longer in the queue is not done any more.

    vital: without it work stays undone or data stay too long; the admin warns of switching it off.
    """

    name: str
    task: str
    every_s: int
    does: str
    queue: str = "events"
    expires_s: int | None = None
    vital: bool = True


ENTRIES = (
    Entry(
        "jobs: enqueue what is due",
        "portrait.jobs.tasks.sweep",
        5,  # also the grain of the pauses between an item's tries
        "Gives the broker what it lost, and what waited for its next try.",
        expires_s=15,
    ),
    Entry("frames: enqueue what is due", "portrait.cameras.tasks.sweep", 5, "The same for frames.", expires_s=15),
    Entry(
        "sightings: register strangers left over",
        "portrait.sightings.tasks.register_strangers",
        30,
        "Registers unknown people whose worker died before it could.",
    ),
    Entry(
        "cameras: retention",
        "portrait.sightings.tasks.expire",
        10 * MINUTE,
        "Removes what the cameras' rules keep no longer, and brings on edits whose past was left half done.",
    ),
    Entry(
        "scenes: remove jobs that are of no use any more",
        "portrait.scenes.tasks.tidy",
        10 * MINUTE,
        "Removes jobs of captions and segmentations that ended.",
    ),
    Entry(
        "imports: go on, and remove old reports",
        "portrait.transfer.tasks.tend",
        15,
        "Feeds the queue, ends imports that were cancelled or given up, removes zips and reports whose time is over.",
        expires_s=30,
    ),
    Entry("jobs: remove old jobs", "portrait.jobs.tasks.purge", HOUR, "Removes old jobs and stray uploads."),
    Entry(
        "audit: chain new entries",
        "portrait.audit.tasks.seal",
        30,
        "Gives new entries of the audit log their place in the chain that shows whether somebody meddled with it.",
    ),
    Entry(
        "privacy: retention",
        "portrait.privacy.tasks.retention",
        HOUR,
        "Erases whoever is kept no longer, and removes what no rule keeps; `manage.py retention show`.",
    ),
    Entry(
        "files: delete what is left",
        "portrait.privacy.tasks.retry_deletions",
        MINUTE,
        "Deletes files whose deletion failed, or whose process died before it.",
    ),
    Entry(
        "people: remove what was deleted",
        "portrait.gallery.tasks.purge",
        HOUR,
        "Removes for good whoever was deleted and whose time of grace is over.",
    ),
    Entry(
        "re-index: what is missing",
        "portrait.reindex.tasks.fill_missing",
        10 * MINUTE,
        "Makes vectors that a crash or an import left out, and brings on re-indexes.",
        queue="reindex",
    ),
    Entry(
        "people: suggestions",
        "portrait.curation.tasks.suggest_all",
        HOUR,
        "Clusters unknown people, and looks for duplicates, outliers and weak portraits where something changed.",
        queue="reindex",
        vital=False,
    ),
    Entry(
        "frames: audit of the ledger",
        "portrait.upkeep.tasks.check_ledger",
        6 * HOUR,
        "Is every frame accounted for? The report is under Upkeep.",
        vital=False,
    ),
    Entry(
        "integrity: rows against files",
        "portrait.upkeep.tasks.check_integrity",
        DAY,
        "Compares rows with files and with each other; removes files of past days that no row names.",
        vital=False,
    ),
    Entry(
        "database: statistics and indexes",
        "portrait.upkeep.tasks.keep_indexes",
        HOUR,
        "Renews statistics, and indexes that deletions left full of holes; builds those of very many portraits.",
        queue="reindex",
        vital=False,
    ),
)


def ensure_schedule() -> None:
    """Make the entries that are not there. When one runs, and whether, belongs to whoever changed it; what it starts,
    and where, follows the code. Safe to repeat."""
    for entry in ENTRIES:
        values = {"task": entry.task, "queue": entry.queue, "description": entry.does}
        if PeriodicTask.objects.filter(name=entry.name).update(**values):
            continue
        PeriodicTask.objects.create(
            name=entry.name,
            interval=_every(entry.every_s),
            expire_seconds=entry.expires_s or entry.every_s,
            **values,
        )
    PeriodicTasks.update_changed()


def _every(seconds: int) -> IntervalSchedule:
    """There may be several of the same: nothing forbids to add one in the admin."""
    fitting = IntervalSchedule.objects.filter(every=seconds, period=IntervalSchedule.SECONDS)
    return fitting.first() or IntervalSchedule.objects.create(every=seconds, period=IntervalSchedule.SECONDS)


def is_vital(name: str) -> bool:
    """Whether an entry must not be switched off lightly."""
    return any(entry.vital for entry in ENTRIES if entry.name == name)
