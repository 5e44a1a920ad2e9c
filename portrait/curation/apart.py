"""Who cannot be one person: what somebody said, and who was seen in one frame with whom."""

from collections.abc import Collection as Items
from uuid import UUID

from django.db import connection
from django.db.models import F

from portrait.curation.models import Likeness
from portrait.curation.selectors import Pair, distinct_among, in_order
from portrait.gallery.models import Rejection
from portrait.sightings.models import FaceRejection

_TOGETHER = """
SELECT DISTINCT one.identity_id, two.identity_id
FROM sightings_detection one
JOIN sightings_detection two ON two.frame_id = one.frame_id AND two.identity_id > one.identity_id
WHERE one.identity_id = ANY(%(ids)s) AND two.identity_id = ANY(%(ids)s) AND NOT one.dismissed AND NOT two.dismissed
  AND (abs(one.box[1] + one.box[3] / 2 - two.box[1] - two.box[3] / 2) > greatest(one.box[3], two.box[3]) / 2
    OR abs(one.box[2] + one.box[4] / 2 - two.box[2] - two.box[4] / 2) > greatest(one.box[4], two.box[4]) / 2)
"""
# The last two lines: a face that was found twice, one box upon the other, is no evidence.


def seen_together(identity_ids: Items[UUID]) -> set[Pair]:
    """Which of these people have their faces side by side in one frame."""
    with connection.cursor() as cursor:
        cursor.execute(_TOGETHER, {"ids": list(identity_ids)})
        return set(cursor.fetchall())


def said_apart(identity_ids: Items[UUID]) -> set[Pair]:
    """Of whom somebody said so: two people, or that the face of one is not the other's."""
    ids = list(identity_ids)
    portraits = Rejection.objects.filter(identity__in=ids, portrait__identity__in=ids)
    portraits = portraits.exclude(identity=F("portrait__identity"))
    faces = FaceRejection.objects.filter(identity__in=ids, detection__identity__in=ids)
    faces = faces.exclude(identity=F("detection__identity"))
    said = {
        *portraits.values_list("identity_id", "portrait__identity_id"),
        *faces.values_list("identity_id", "detection__identity_id"),
    }
    return distinct_among(ids) | {in_order(one, two) for one, two in said}


def remembered_together(identity_ids: Items[UUID]) -> set[Pair]:
    """Who was once seen together, in frames that may be gone by now."""
    ids = list(identity_ids)
    rows = Likeness.objects.filter(first__in=ids, second__in=ids, together=True)
    return set(rows.values_list("first_id", "second_id"))


def apart_among(identity_ids: Items[UUID]) -> set[Pair]:
    """All pairs of these people who are two for certain."""
    return said_apart(identity_ids) | remembered_together(identity_ids) | seen_together(identity_ids)
