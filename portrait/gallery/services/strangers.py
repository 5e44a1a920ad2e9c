"""Unknown people as first-class citizens."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from django.db.models import F
from numpy.typing import NDArray

from inference.calibration import DECISION
from portrait.core.files import atomic_with_files
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import Candidate, nearest_identities
from portrait.gallery.services.enrolment import store_photos
from portrait.gallery.services.photos import PreparedPhoto
from portrait.gallery.vectors import vector_of


@dataclass(frozen=True, slots=True)
class Registration:
    """Whom a stranger's photos belong to; created False: somebody known by then."""

    candidate: Candidate
    created: bool


def register_unknown(
    *,
    collection: Collection,
    photos: Sequence[PreparedPhoto],
    vector: NDArray[np.float32] | None = None,
    exclude: Iterable[UUID] = (),
) -> Registration:
    """Keep a stranger as `unknown_person_N`; two calls at once with the same stranger make one.

    photos: of this one stranger, at least one, the best first. vector: what is looked for among those who are known
    already, the first photo's if not given. The counter's row is what concurrent calls wait at;
    whoever comes second finds the first one's portraits. exclude: people who are known to be somebody else.
    """
    excluded = list(exclude)
    with atomic_with_files():
        Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") + 1)
        wanted = vector_of(collection.active_model, photos[0].face) if vector is None else vector
        near = nearest_identities(collection, wanted, top_k=1, min_similarity=DECISION, exclude=excluded)
        if near:
            Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") - 1)
            return Registration(near[0], created=False)
        number = Collection.objects.values_list("unknown_counter", flat=True).get(id=collection.id)
        identity = Identity.objects.create(
            collection=collection, name=f"unknown_person_{number}", kind=Identity.Kind.UNKNOWN
        )
        store_photos(identity=identity, prepared=photos)
    return Registration(Candidate(identity=identity, distance=0.0, similarity=1.0), created=True)
