"""Answers too long for the memory."""

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import cast

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse


class StreamedAnswer(StreamingHttpResponse):
    """A long answer out of an ordinary iterator. Django's own would read all of it into a list first where it runs
    under ASGI; here one part after the other is asked for, in the request's thread."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: Iterator[bytes] = iter(cast(Iterable[bytes], self.streaming_content))
        while (part := await sync_to_async(lambda: next(parts, None))()) is not None:
            yield part
