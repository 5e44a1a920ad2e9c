"""Every error that `inference` raises, as one tree.

Each class says two things a caller needs: `code`, a stable machine-readable name, and `retryable`,
whether the same call may succeed later. Only the layer that schedules work (Celery's task decorators,
the client's own short retry) looks at `retryable`.
"""

from typing import ClassVar


class InferenceError(Exception):
    """Base of the tree."""

    code: ClassVar[str] = "inference_error"
    retryable: ClassVar[bool] = False


# --- the picture itself ---------------------------------------------------------------------------


class ImageError(InferenceError):
    """The bytes are not an image that Portrait accepts; sending them again changes nothing."""

    code = "invalid_image"


class EmptyImageError(ImageError):
    """No bytes at all."""

    code = "empty_image"


class ImageTooLargeError(ImageError):
    """Too many bytes or too many pixels (a decompression bomb among them)."""

    code = "image_too_large"


class ImageTooSmallError(ImageError):
    """A side is too short to hold a face or a scene."""

    code = "image_too_small"


class UnsupportedImageError(ImageError):
    """A known file type or pixel layout that is not accepted, or no image type at all."""

    code = "unsupported_image"


class CorruptImageError(ImageError):
    """The header promises an image that the body does not hold (truncated, damaged)."""

    code = "corrupt_image"


# --- the inference server -------------------------------------------------------------------------


class ServerError(InferenceError):
    """The inference server did not answer as asked."""

    code = "inference_failed"


class ServerUnavailableError(ServerError):
    """Nothing answers at any of the server's addresses (down, starting, network)."""

    code = "inference_unavailable"
    retryable = True


class DeadlineExceededError(ServerError):
    """The server answers, but not within the deadline."""

    code = "inference_timeout"
    retryable = True


class ServerBusyError(ServerError):
    """The server refuses work for now: its queue or its memory is full."""

    code = "inference_busy"
    retryable = True


class ModelNotInstalledError(ServerError):
    """The server runs but does not serve this model."""

    code = "model_not_installed"


class ModelNotLoadedError(ServerError):
    """The server has this model, and was told not to serve it now; it may be told otherwise."""

    code = "model_not_loaded"
    retryable = True


class InvalidInferenceRequestError(ServerError):
    """The server refuses the tensors: shapes or types do not fit the model."""

    code = "inference_request_invalid"


class InvalidInferenceResponseError(ServerError):
    """The server's answer lacks an output or its shape is wrong."""

    code = "inference_response_invalid"


# --- weights --------------------------------------------------------------------------------------


class WeightsError(InferenceError):
    """A model's weights cannot be fetched, checked or converted."""

    code = "weights_error"


class UnknownModelError(WeightsError):
    """The manifest has no model of that name."""

    code = "unknown_model"


class WeightsNotFoundError(WeightsError):
    """The source package or file is not there, or its address cannot be reached."""

    code = "weights_not_found"


class ChecksumMismatchError(WeightsError):
    """The file is not the one the manifest names: its sha256 differs."""

    code = "checksum_mismatch"


class LicenceNotAcceptedError(WeightsError):
    """Non-commercial weights need the licence accepted by name."""

    code = "licence_not_accepted"


class ConversionMismatchError(WeightsError):
    """The converted model does not give the reference's results."""

    code = "conversion_mismatch"
