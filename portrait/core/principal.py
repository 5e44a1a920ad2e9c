"""The rights of a caller."""

import uuid
from dataclasses import dataclass

from portrait.core.errors import ForbiddenError, NotFoundError
from portrait.core.models import Scope


@dataclass(frozen=True, slots=True)
class Principal:
    """The rights of a caller. `collection_ids` None means every collection, `camera_ids` None every camera of these.

    A caller that is bound to cameras reaches nothing but what belongs to them: a camera's key enrols nobody.
    """

    name: str
    scope: Scope
    collection_ids: frozenset[uuid.UUID] | None
    throttle_id: str
    api_key_id: uuid.UUID | None = None
    camera_ids: frozenset[uuid.UUID] | None = None

    def may_reach(self, collection_id: uuid.UUID | None) -> bool:
        return self.collection_ids is None or collection_id in self.collection_ids

    def may_reach_camera(self, camera_id: uuid.UUID, collection_id: uuid.UUID) -> bool:
        return self.may_reach(collection_id) and (self.camera_ids is None or camera_id in self.camera_ids)

    def require_collection(self, collection_id: uuid.UUID | None, what: str = "object") -> None:
        """A thing in a collection out of reach is answered like a thing that does not exist."""
        if not self.may_reach(collection_id):
            raise NotFoundError(f"There is no such {what}.")

    def require_no_camera(self) -> None:
        if self.camera_ids is not None:
            raise ForbiddenError("This key is bound to cameras; this call needs a key for a whole collection.")

    def require_all_collections(self) -> None:
        if self.collection_ids is not None:
            raise ForbiddenError("This key is bound to single collections; this call needs a key for all of them.")

    def require_scope(self, scope: Scope) -> None:
        if not self.scope.includes(scope):
            raise ForbiddenError(f"This call needs a key with the scope '{scope}'; this key has '{self.scope}'.")
