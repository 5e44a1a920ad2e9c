"""Written by Portrait's importer: the model server finds `inference` through PYTHONPATH."""

from inference.scenes.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
