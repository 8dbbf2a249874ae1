"""Collected only under TRITON_INTERPRET=1; tests/losses/test_kernel.py runs this folder so."""

from __future__ import annotations

from rnnlab.cells.triton.plan import interpreting

collect_ignore_glob = [] if interpreting() else ["test_*.py"]
