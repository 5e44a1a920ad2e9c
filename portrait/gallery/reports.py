"""How an enrolment's outcome is told: the same JSON in an answer and in a job's result."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from portrait.audit.models import Action
from portrait.audit.services import record
from portrait.core.errors import problem_json
from portrait.core.principal import Principal
from portrait.gallery.models import Identity, Portrait
from portrait.gallery.selectors import Candidate
from portrait.gallery.services.enrolment import PhotoReport


def identity_json(identity: Identity) -> dict[str, Any]:
    """An identity as candidates name it."""
    return {"id": str(identity.id), "external_id": identity.external_id, "name": identity.name}


def candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {"identity": identity_json(candidate.identity), "similarity": round(candidate.similarity, 4)}


def portrait_json(portrait: Portrait) -> dict[str, Any]:
    return {
        "id": str(portrait.id),
        "identity": str(portrait.identity_id),
        "width": portrait.width,
        "height": portrait.height,
        "box": portrait.box,
        "landmarks": portrait.landmarks,
        "score": portrait.score,
        "quality": portrait.quality,
        "sha256": portrait.sha256,
        "image_url": f"/api/v1/portraits/{portrait.id}/image",
        "thumbnail_url": f"/api/v1/portraits/{portrait.id}/thumbnail",
        "created_at": portrait.created_at.isoformat(),
    }


def report_json(report: PhotoReport) -> dict[str, Any]:
    return {
        "index": report.index,
        "status": report.status,
        "portrait": portrait_json(report.portrait) if report.portrait else None,
        "error": problem_json(report.error) if report.error else None,
        "warnings": [
            {"code": warning.code, "message": warning.message, **candidate_json(warning.candidate)}
            for warning in report.warnings
        ],
    }


def log_resemblances(
    *, principal: Principal, collection_id: UUID, reports: Iterable[PhotoReport], **details: Any
) -> None:
    """Who is told whom an enrolled face resembles has searched for it: an entry of the audit log a picture, before the
    report is handed out.

    Raises:
        AuditUnavailableError: it cannot be written; then the report is not to be told.
    """
    for report in reports:
        if report.warnings and report.portrait is not None:
            record(
                principal=principal,
                action=Action.SEARCH,
                collection_id=collection_id,
                probe_sha256=report.portrait.sha256,
                details={"enrolment": True, "named": len(report.warnings), **details},
                identities=[warning.candidate.identity.pk for warning in report.warnings],
            )
