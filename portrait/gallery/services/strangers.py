"""Unknown people as first-class citizens."""

from django.db.models import F

from inference.calibration import DECISION
from portrait.core.files import atomic_with_files
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import Candidate, nearest_identities
from portrait.gallery.services.enrolment import store_photo
from portrait.gallery.services.photos import PreparedPhoto


def register_unknown(*, collection: Collection, photo: PreparedPhoto) -> Candidate:
    """Keep a stranger as `unknown_person_N`; two calls at once with the same stranger make one.

    The counter's row is what concurrent calls wait at; whoever comes second finds the first one's portrait.
    """
    with atomic_with_files():
        Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") + 1)
        near = nearest_identities(collection, photo.face.embedding.vector, top_k=1, min_similarity=DECISION)
        if near:
            Collection.objects.filter(id=collection.id).update(unknown_counter=F("unknown_counter") - 1)
            return near[0]
        number = Collection.objects.values_list("unknown_counter", flat=True).get(id=collection.id)
        identity = Identity.objects.create(
            collection=collection, name=f"unknown_person_{number}", kind=Identity.Kind.UNKNOWN
        )
        store_photo(identity=identity, photo=photo)
    return Candidate(identity=identity, distance=0.0, similarity=1.0)
