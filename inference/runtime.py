"""The one door to ONNX Runtime. Its official builds report to their maker unless told not to, before they load:
what is done with pictures of people here is told to nobody."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
