"""Where the time of a step on a CPU goes: each moment belongs to one named part.

Forward parts are entered and left by hooks of the modules, and what no module claims is the decoder and the loss. In
backward, a module's part begins when the gradient of its output is there, and lasts until that of another's is: on a
CPU, autograd runs one node after the other in the thread that asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

REST = "decoder + loss"
BETWEEN = "other"
_BACKWARD, _FORWARD = "backward", "forward"


class Timeline:
    """Adds up seconds by part.

    Attributes:
        seconds: by part, since the last `clear`.
    """

    def __init__(self, model: nn.Module, clock: Callable[[], float] = time.perf_counter) -> None:
        """Watch the parts of a model that have a module of their own.

        Args:
            model: its `embedding`, `dropout` and `recurrent` are watched, those that it has.
            clock: seconds.
        """
        self._clock = clock
        self.seconds: dict[str, float] = {}
        self._stack = [BETWEEN]
        self._since = clock()
        self._handles = []
        for name in ("embedding", "dropout", "recurrent"):
            module = getattr(model, name, None)
            if isinstance(module, nn.Module):
                self._watch(name, module)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Let the time inside belong to a part; what is named inside of it is not counted twice."""
        self._push(f"{name} {REST}" if name in (_FORWARD, _BACKWARD) else name)
        try:
            yield
        finally:
            self._pop()

    def clear(self) -> dict[str, float]:
        """Begin at zero; return what there was."""
        self._switch(self._stack[-1])
        seconds, self.seconds = self.seconds, {}
        return seconds

    def close(self) -> None:
        """Stop watching."""
        for handle in self._handles:
            handle.remove()

    def _watch(self, name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, inputs: Any) -> None:
            self._push(f"{_FORWARD} {name}")

        def leave(module: nn.Module, inputs: Any, outputs: Any) -> None:
            self._pop()
            for output in _tensors(outputs):
                if output.requires_grad:
                    output.register_hook(lambda gradient: self._switch(f"{_BACKWARD} {name}"))

        self._handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]

    def _push(self, name: str) -> None:
        self._switch(self._stack[-1])
        self._stack.append(name)

    def _pop(self) -> None:
        self._switch(self._stack[-1])
        self._stack.pop()

    def _switch(self, name: str) -> None:
        """Give the time up to now to the part in force, and let another be in its place."""
        now = self._clock()
        part = self._stack[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since, self._stack[-1] = now, name


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor among a module's outputs: states and PackedSequences are tuples."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)
