"""Who records the work of a training step on the device, to repeat it as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from rnnlab.models.state import State
from rnnlab.training.update import Made

Step = Callable[[], tuple[Made, State]]


class Recorder(Protocol):
    """Runs a step, or records it to be repeated."""

    def run(self, step: Step) -> tuple[Made, State]:
        """Run it now."""
        ...

    def record(self, step: Step) -> tuple[tuple[Made, State], Callable[[], object]]:
        """Record it without running it; what is called then runs it and fills what was returned."""
        ...

    def forget(self) -> None:
        """Drop the memory of what was recorded; nothing of it will be called again."""
        ...


class CudaRecorder:
    """CUDA's graphs."""

    def __init__(self, device: torch.device) -> None:
        """Open a stream; nothing else can be recorded on it."""
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def run(self, step: Step) -> tuple[Made, State]:
        """Run it on the stream that graphs are recorded on: autograd remembers where it first met a weight."""
        here = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            found = step()
        here.wait_stream(self._stream)
        return found

    def record(self, step: Step) -> tuple[tuple[Made, State], Callable[[], object]]:
        """Record it; this waits for the device."""
        graph = torch.cuda.CUDAGraph()
        # One pool for all: a step's results are copied, or used up, before the next graph may write over them.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            found = step()
        return found, graph.replay

    def forget(self) -> None:
        """Let the next graph begin a new pool."""
        self._pool = torch.cuda.graph_pool_handle()
