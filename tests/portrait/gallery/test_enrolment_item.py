"""A picture that was accepted ends with whoever its person is by then."""

import pytest

from portrait.core.errors import NotFoundError
from portrait.demo.photos import COLLINS, built_in
from portrait.gallery import tasks
from portrait.gallery.models import Collection, Identity, Portrait
from portrait.gallery.services import editing
from portrait.jobs import services as jobs
from portrait.jobs.models import JobItem
from tests.portrait.gallery.people import ACTOR

pytestmark = pytest.mark.django_db


def _item(identity: Identity) -> JobItem:
    photo = built_in().people[COLLINS][0].data
    job = tasks.start_enrolment(identity=identity, photos=[photo], face="", force=False)
    item = jobs.claim(item_id=job.items.get().pk)
    assert item is not None
    return item


def test_a_person_who_is_merged_while_their_picture_is_stored(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just after the item looked who they are, and before it locks them."""
    into, part = (Identity.objects.create(collection=collection, name=name) for name in ("Ada", "Ada again"))
    real = tasks.survivor

    def merged_at_once(identity: Identity) -> Identity:
        found = real(identity)
        if found == part:
            editing.merge(target=into, sources=[part], actor=ACTOR)
        return found

    monkeypatch.setattr(tasks, "survivor", merged_at_once)
    jobs.process(item=_item(part))
    assert Portrait.objects.get().identity == into
    result = JobItem.objects.get().result
    assert result is not None
    assert result["status"] == "accepted"


def test_a_person_who_is_deleted_takes_no_picture(collection: Collection) -> None:
    one = Identity.objects.create(collection=collection, name="Ada")
    item = _item(one)
    editing.delete(identity=one, actor=ACTOR)
    with pytest.raises(NotFoundError, match="deleted"):
        jobs.process(item=item)
    assert not Portrait.objects.exists()
