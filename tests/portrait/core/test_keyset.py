"""Pages by keyset: every row once, in order, forwards and backwards, whatever a cursor says."""

from datetime import timedelta

import pytest
from django.db.models import F, QuerySet
from django.utils import timezone

from portrait.core import keyset
from portrait.core.keyset import Key, counted, keys_of, page_of
from portrait.gallery.models import Collection, Identity

pytestmark = pytest.mark.django_db

NEWEST = [Key("created_at", True), Key("id", True)]
BY_NAME = [Key("name", False), Key("id", False)]


@pytest.fixture
def rows(collection: Collection) -> "QuerySet[Identity]":
    """23 people; several share a name or a moment."""
    now = timezone.now()
    for number in range(23):
        row = Identity.objects.create(collection=collection, name=f"n{number % 5}")
        moment = now - timedelta(microseconds=number // 4)
        Identity.objects.filter(pk=row.pk).update(created_at=moment)
    return Identity.objects.filter(collection=collection)


@pytest.mark.parametrize("keys", [NEWEST, BY_NAME])
def test_every_row_comes_once_in_order_and_back_again(rows: "QuerySet[Identity]", keys: list[Key]) -> None:
    wanted = list(rows.order_by(*(key.ordering for key in keys)))
    pages = [page_of(rows, keys, 5)]
    while pages[-1].next is not None:
        pages.append(page_of(rows, keys, 5, after=pages[-1].next))
    assert [row for page in pages for row in page.rows] == wanted
    assert [len(page.rows) for page in pages] == [5, 5, 5, 5, 3]
    back = [pages[-1]]
    while back[-1].previous:
        back.append(page_of(rows, keys, 5, before=back[-1].previous))
    assert [row for page in reversed(back) for row in page.rows] == wanted
    assert back[-1].previous is None


def test_what_is_added_or_deleted_moves_no_page(rows: "QuerySet[Identity]", collection: Collection) -> None:
    first = page_of(rows, NEWEST, 5)
    rest = list(rows.order_by("-created_at", "-id")[5:10])
    Identity.objects.create(collection=collection, name="new")
    Identity.objects.filter(pk=first.rows[4].pk).delete()
    assert first.next is not None
    assert page_of(rows, NEWEST, 5, after=first.next).rows == rest


@pytest.mark.parametrize(
    "cursor", ["x", "é", "W10", "WyJhIiwiYiJd", "bnVsbA", "W251bGwsbnVsbF0", "%00", "=" * 9, "W1tdLFtdXQ"]
)
def test_a_cursor_that_is_none_leads_to_the_first_page(rows: "QuerySet[Identity]", cursor: str) -> None:
    first = page_of(rows, NEWEST, 5).rows
    for way in ("after", "before"):
        assert page_of(rows, NEWEST, 5, **{way: cursor}).rows == first


def test_orders_that_no_page_can_be_made_of() -> None:
    assert keys_of(Identity, ["-created_at", "-pk"]) == NEWEST
    assert keys_of(Identity, ["name", "-pk"]) == BY_NAME, "the primary key turns with the column before it"
    for ordering in (
        ["external_id", "pk"],
        ["collection__name", "pk"],
        [F("name").asc(), "pk"],
        ["name"],
        ["no", "pk"],
    ):
        assert keys_of(Identity, ordering) is None, ordering


def test_few_are_counted_and_many_estimated(rows: "QuerySet[Identity]", monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(counted(rows)) == "23"
    monkeypatch.setattr(keyset, "MOST_COUNTED", 10)
    monkeypatch.setattr(keyset, "planned_rows", lambda _: 5)
    assert str(counted(rows)) == "more than 10"
    monkeypatch.setattr(keyset, "planned_rows", lambda _: 54321)
    assert str(counted(rows)) == "about 54,321"
