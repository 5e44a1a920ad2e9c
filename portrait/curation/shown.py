"""How suggestions are told: with names and faces as they are now, a handful of queries a page."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from portrait.curation.actions import proposed_action
from portrait.curation.models import Suggestion
from portrait.curation.selectors import reason_of, thumbnails_of
from portrait.gallery.models import Identity, Portrait


def _thumbnail_url(portrait: Portrait | None) -> str | None:
    return None if portrait is None else f"/api/v1/portraits/{portrait.pk}/thumbnail"


def _identity_json(identity: Identity, face: Portrait | None) -> dict[str, Any]:
    return {
        "id": str(identity.pk),
        "external_id": identity.external_id,
        "name": identity.name,
        "kind": identity.kind,
        "thumbnail_url": _thumbnail_url(face),
    }


def _portrait_json(portrait: Portrait) -> dict[str, Any]:
    return {
        "id": str(portrait.pk),
        "identity": str(portrait.identity_id),
        "quality": portrait.quality.get("score"),
        "image_url": f"/api/v1/portraits/{portrait.pk}/image",
        "thumbnail_url": _thumbnail_url(portrait),
    }


def told(suggestions: Sequence[Suggestion]) -> list[dict[str, Any]]:
    """Suggestions (with their collection) as answers tell them; people and portraits that are gone are left out."""
    people_ids = {key for row in suggestions for key in row.identities}
    people = Identity.objects.filter(deleted_at=None).in_bulk(people_ids)
    faces = thumbnails_of(people)
    portraits = Portrait.objects.filter(deleted_at=None).in_bulk({key for row in suggestions for key in row.portraits})
    return [_told(row, people, faces, portraits) for row in suggestions]


def _told(
    row: Suggestion, people: dict[UUID, Identity], faces: dict[UUID, Portrait], portraits: dict[UUID, Portrait]
) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "collection": row.collection.name,
        "kind": row.kind,
        "state": row.state,
        "score": round(row.score, 4),
        "similarity": row.details.get("similarity"),
        "reason": reason_of(row),
        "action": str(proposed_action(row)),
        "identities": [_identity_json(people[key], faces.get(key)) for key in row.identities if key in people],
        "portraits": [_portrait_json(portraits[key]) for key in row.portraits if key in portraits],
        "details": row.details,
        "changes": row.changes,
        "decided_by": row.decided_by or None,
        "decided_at": row.decided_at.isoformat() if row.decided_at else None,
        "created_at": row.created_at.isoformat(),
        "updated_at": row.updated_at.isoformat(),
    }
