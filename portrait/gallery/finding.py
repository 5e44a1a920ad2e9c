"""Finding people by what they are called."""

from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import Q, QuerySet

from portrait.gallery.models import Identity
from portrait.gallery.selectors import as_uuid

FEW_FOUND = 1_000


def by_words(people: "QuerySet[Identity]", term: str) -> "QuerySet[Identity]":
    """Those whose name has words that begin like these, or whose external id begins so, or whose id it is.

    By indexes (`identity_words`, `identity_external`); a part from the middle of a word is not found. Few are looked up
    first: PostgreSQL takes any beginning of a word for a frequent one, and would rather read all people in the order of
    the list until a page is full. That is right for words that many have, and reads everybody for a rare name.
    """
    key = as_uuid(term.strip())
    if key is not None:
        return people.filter(pk=key)
    found = matching(people, term)
    few = keys_of(found)
    return people.filter(pk__in=few) if isinstance(few, list) else found


def named(term: str) -> "list[UUID] | QuerySet[Identity]":
    """Whom a word finds, for `identity__in` of what was seen of them."""
    return keys_of(by_words(Identity.objects.all(), term))


def keys_of(found: "QuerySet[Identity]") -> "list[UUID] | QuerySet[Identity]":
    """Their ids if they are few, else as they are."""
    few = list(found.order_by().values_list("pk", flat=True)[: FEW_FOUND + 1])
    return few if len(few) <= FEW_FOUND else found.order_by().values("pk")  # type: ignore[return-value]


def matching(people: "QuerySet[Identity]", term: str) -> "QuerySet[Identity]":
    """By name or external id, as `by_words` says."""
    beginnings = " & ".join(f"{_quoted(word)}:*" for word in term.split())
    query = SearchQuery(beginnings, search_type="raw", config="simple")
    named = people.annotate(name_words=SearchVector("name", config="simple"))
    return named.filter(Q(name_words=query) | Q(external_id__istartswith=term.strip()))


def _quoted(word: str) -> str:
    """A lexeme of `to_tsquery`, whatever signs are in it."""
    return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"
