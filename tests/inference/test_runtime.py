"""ONNX Runtime reports nothing to anybody."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["inference.local", "inference.weights.build"])
def test_the_runtime_is_told_to_be_silent_before_it_loads(module: str) -> None:
    code = f"""
import builtins, os
real = builtins.__import__
def watched(name, *args, **kwargs):
    if name.split(".")[0] == "onnxruntime":
        assert os.environ.get("ORT_DISABLE_TELEMETRY") == "1", "loaded before it was told"
        seen.append(name)
    return real(name, *args, **kwargs)
seen = []
builtins.__import__ = watched
import {module}
assert seen
"""
    subprocess.run([sys.executable, "-c", code], check=True)
