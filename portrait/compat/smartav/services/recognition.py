"""Who is in a picture, the way old clients ask: every face gets one answer, and strangers are registered."""

from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Greatest

from inference.calibration import DECISION
from inference.types import Box, Face, Image
from portrait.compat.smartav.selectors import highest_unknown, is_stranger
from portrait.compat.smartav.shapes import UNKNOWN_PREFIX
from portrait.gallery.models import Collection, Identity
from portrait.gallery.selectors import nearest_identities
from portrait.gallery.services.photos import analyse, prepare_face
from portrait.gallery.services.strangers import register_unknown
from portrait.gallery.vectors import vector_of

RIVALS = 100


@dataclass(frozen=True, slots=True)
class SeenFace:
    """A face and whose it is; None: nobody's that is known, and too poor to be registered."""

    box: Box
    identity: Identity | None


def recognise_faces(*, collection: Collection, data: bytes, min_similarity: float = DECISION) -> list[SeenFace]:
    """Name every face of a picture, by the most similar person who is at least `min_similarity` alike.

    A good face that matches nobody becomes `unknown_person_N`, which is its id too. No face: an empty list.
    """
    image, analysis = analyse(data, collection=collection)
    alone = len(analysis.faces) == 1
    return [
        SeenFace(face.box, _who(collection, data, image, face, min_similarity, alone=alone)) for face in analysis.faces
    ]


def _who(
    collection: Collection, data: bytes, image: Image, face: Face, min_similarity: float, *, alone: bool
) -> Identity | None:
    vector = vector_of(collection.active_model, face)
    near = nearest_identities(collection, vector, min_similarity=min_similarity)
    if near:
        found = near[0].identity
    elif face.quality.acceptable:
        # Who is alike, but less than the caller asks for, is somebody else by the caller's own word.
        rivals = nearest_identities(collection, vector, top_k=RIVALS)
        photo = prepare_face(data, image, face, alone=alone)
        exclude = [rival.identity.id for rival in rivals]
        found = register_unknown(collection=collection, photos=[photo], exclude=exclude).candidate.identity
    else:
        return None
    if found.external_id is None and is_stranger(found):
        give_id(identity=found)
    return found


def give_id(*, identity: Identity) -> None:
    """A stranger's name becomes the id as well, so that it stays when the stranger is named. Where a caller's own
    sample has that id already, the stranger gets the next free number. Somebody who was named or erased meanwhile is
    left as they are."""
    rows = Identity.objects.filter(pk=identity.pk)
    nameless = rows.filter(external_id=None, kind=Identity.Kind.UNKNOWN, name=identity.name)
    values = {"external_id": identity.name}
    while True:
        try:
            with transaction.atomic():
                nameless.update(**values)
        except IntegrityError:
            values = dict.fromkeys(("external_id", "name"), f"{UNKNOWN_PREFIX}{_next_number(identity.collection)}")
            continue
        fresh = rows.first()
        if fresh is not None:
            identity.external_id, identity.name, identity.kind = fresh.external_id, fresh.name, fresh.kind
        return


def _next_number(collection: Collection) -> int:
    with transaction.atomic():
        row = Collection.objects.filter(pk=collection.pk)
        row.update(unknown_counter=Greatest(F("unknown_counter"), highest_unknown(collection)) + 1)
        return row.values_list("unknown_counter", flat=True).get()
