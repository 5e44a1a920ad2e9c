"""Frames in an S3 bucket (the extra `s3`), with the errors of a disk: nobody above has to know which it is."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from django.core.files.base import ContentFile
from storages.backends.s3 import S3Storage

from inference.config import CodecLimits

MAX_BYTES = CodecLimits().max_bytes


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:  # it went while it was read
            raise FileNotFoundError(errno.ENOENT, "the S3 bucket has no such object") from error
        raise OSError(f"the S3 bucket: {error}") from error
    except BotoCoreError as error:
        raise OSError(f"the S3 bucket: {error}") from error


class S3FrameStorage(S3Storage):  # type: ignore[misc]
    """django-storages' S3 storage; whatever goes wrong is an OSError (a missing file FileNotFoundError, as before)."""

    def _save(self, name: str, content: Any) -> str:
        with _as_os_error():
            return str(super()._save(name, content))

    def _open(self, name: str, mode: str = "rb") -> Any:
        """The whole object, in memory: whatever fails, fails here."""
        with _as_os_error(), super()._open(name, mode) as file:
            if file.size > MAX_BYTES:
                raise OSError(errno.EFBIG, "the object is larger than any picture that was accepted", name)
            return ContentFile(file.read(), name)

    def delete(self, name: str) -> None:
        with _as_os_error():
            super().delete(name)

    def exists(self, name: str) -> bool:
        with _as_os_error():
            return bool(super().exists(name))
