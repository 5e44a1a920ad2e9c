"""Which code does the items of which kind of job: apps register their handlers when they start."""

from typing import Any, Protocol

from portrait.jobs.models import JobItem


class Handler(Protocol):
    """Does one item in two steps, so that its effect and its result are committed together."""

    def prepare(self, item: JobItem) -> Any:
        """The slow part (files, network), no transaction open. Errors decide about a retry by `retryable`."""

    def store(self, item: JobItem, prepared: Any) -> dict[str, Any]:
        """The writes, inside one short transaction; answers the item's result."""


_handlers: dict[str, Handler] = {}


def register(kind: str, handler: Handler) -> None:
    """Make `handler` do the items of jobs of this kind."""
    _handlers[kind] = handler


def handler_of(kind: str) -> Handler:
    """The handler of a kind.

    Raises:
        LookupError: no app registered one.
    """
    try:
        return _handlers[kind]
    except KeyError:
        raise LookupError(f"no handler for jobs of the kind {kind!r}") from None
