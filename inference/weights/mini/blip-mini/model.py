"""Written by Portrait's importer: the model server finds `inference` through PYTHONPATH."""

import os
import sys

# The server's Python is embedded in a way that leaves PYTHONPATH out of sys.path.
for _folder in reversed(os.environ.get("PYTHONPATH", "").split(os.pathsep)):
    if _folder and _folder not in sys.path:
        sys.path.insert(0, _folder)

from inference.scenes.triton_model import TritonPythonModel  # noqa: E402 - only there it is found

__all__ = ["TritonPythonModel"]
