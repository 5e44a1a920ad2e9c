"""What there is in the admin, and what it is called: for the sidebar and for the line above each page."""

from django.urls import NoReverseMatch, reverse

GROUPS: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...] = (
    (
        "Daily work",
        (
            ("People", "face", "gallery.identity"),
            ("Review", "rate_review", "curation.suggestion"),
            ("Sightings", "visibility", "sightings.sighting"),
            ("Alerts", "notifications", "sightings.alert"),
            ("Journal", "history", "gallery.change"),
            ("Jobs", "progress_activity", "jobs.job"),
        ),
    ),
    (
        "What is seen",
        (
            ("Cameras", "videocam", "cameras.camera"),
            ("Watches", "person_search", "sightings.watch"),
            ("Frames", "photo_library", "cameras.frame"),
            ("Captions", "notes", "scenes.caption"),
            ("Objects", "category", "scenes.sceneobject"),
        ),
    ),
    (
        "Setting up",
        (
            ("Collections", "folder_shared", "gallery.collection"),
            ("Calibration", "tune", "calibration.calibrationrun"),
            ("Models", "model_training", "gallery.embeddingmodel"),
            ("Re-index", "autorenew", "reindex.reindex"),
            ("Schedule", "schedule", "django_celery_beat.periodictask"),
            ("Keys", "key", "core.apikey"),
            ("Users", "group", "auth.user"),
            ("Groups", "groups", "auth.group"),
            ("Audit", "policy", "audit.auditentry"),
            ("Checks", "fact_check", "upkeep.upkeeprun"),
        ),
    ),
)
"""(title, ((title, symbol, app.model), ...)), ..."""


def address_of(label: str) -> str:
    return reverse(f"admin:{label.replace('.', '_')}_changelist")


def is_registered(label: str) -> bool:
    try:
        return bool(address_of(label))
    except NoReverseMatch:
        return False
