"""The audit of frames, as the schedule runs it: is every frame accounted for, on every camera?"""

from django.utils import timezone

from portrait.cameras.models import Camera
from portrait.cameras.services.audit import audit_camera
from portrait.upkeep.models import UpkeepRun
from portrait.upkeep.services.runs import Outcome, StillHere, run


def check() -> UpkeepRun | None:
    """Audit all cameras; None where an audit is going on already. In detail: `manage.py frames audit`."""
    return run(kind=UpkeepRun.Kind.LEDGER, work=_check)


def _check(still_here: StillHere) -> Outcome:
    cameras, lost = {}, 0
    for camera in Camera.objects.select_related("collection", "status").order_by("pk").iterator(50):
        still_here()
        account = audit_camera(camera=camera)
        lost += account.lost()
        cameras[f"{account.collection}/{account.camera}"] = {
            "accepted": account.accepted,
            "failed": account.failed,
            "waiting": account.waiting,
            "lost": account.lost(),
            "orphans": account.orphan_count,
        }
    return Outcome(not lost, {"lost": lost, "cameras": cameras, "at": timezone.now().isoformat()})
