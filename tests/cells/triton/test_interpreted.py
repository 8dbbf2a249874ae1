"""Runs the tests that need triton's interpreter, all of interpreted/, in a process of their own.

Triton decides when a kernel is defined whether it will be compiled or interpreted, so one process cannot do both.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="the package triton is not installed")
def test_the_kernels_pass_their_tests_in_the_interpreter(interpret) -> None:
    interpret(Path(__file__).parent / "interpreted")
