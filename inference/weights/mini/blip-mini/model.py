"""Written by Portrait's importer. The model server is told by PYTHONPATH where `inference` is."""

import os
import sys

# Triton's Python stub hands PYTHONPATH on, and does not follow it itself.
sys.path += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry not in sys.path]

from inference.scenes.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
