"""A suggestion to be."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from portrait.curation.models import OF_PEOPLE, Kind, fingerprint_of


@dataclass(frozen=True, slots=True)
class Proposal:
    """A suggestion to be: see `models.Suggestion` for the fields."""

    kind: Kind
    identities: tuple[UUID, ...]
    score: float
    portraits: tuple[UUID, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        asked_of = self.identities if self.kind in OF_PEOPLE else self.identities[:1]
        return fingerprint_of(self.kind, asked_of, self.portraits)
