"""Which code does the items of which kind of job: apps register their handlers when they start."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from portrait.jobs.models import JobItem


class Handler(Protocol):
    """Does one item in two steps, so that its effect and its result are committed together."""

    def prepare(self, item: JobItem) -> Any:
        """The slow part (files, network), no transaction open. Errors decide about a retry by `retryable`."""

    def store(self, item: JobItem, prepared: Any) -> dict[str, Any]:
        """The writes, inside one short transaction; answers the item's result."""


Result = dict[str, Any] | None
Presenter = Callable[[Sequence[JobItem]], list[Result]]
"""The results of items of one job, as they are shown now: what must not be stored, like the names of people, is put in
here."""

_handlers: dict[str, Handler] = {}
_presenters: dict[str, Presenter] = {}


def register(kind: str, handler: Handler, *, present: Presenter | None = None) -> None:
    """Make `handler` do the items of jobs of this kind. present: where results are not shown as they are stored."""
    _handlers[kind] = handler
    if present is not None:
        _presenters[kind] = present


def presented(kind: str, items: Sequence[JobItem]) -> list[Result]:
    """The results of items of a job of this kind, as they are shown."""
    return _presenters[kind](items) if kind in _presenters else [item.result for item in items]


def kinds() -> list[str]:
    """Of all jobs that there can be."""
    return sorted(_handlers)


def handler_of(kind: str) -> Handler:
    """The handler of a kind.

    Raises:
        LookupError: no app registered one.
    """
    try:
        return _handlers[kind]
    except KeyError:
        raise LookupError(f"no handler for jobs of the kind {kind!r}") from None
