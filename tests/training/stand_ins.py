"""What stands in for a GPU where there is none: a graph recorded of a CPU's operations, and memory that none may read.

Both see each operation of torch below autograd, so that a step must go the way it goes on a GPU: `as_on_a_gpu`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rnnlab.cells import stack
from rnnlab.cells.cpu import engine
from rnnlab.losses import cross_entropy
from rnnlab.models.tied import TiedEmbedding
from rnnlab.training.recorder import Step


def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what asks whether a tensor is the CPU's, and then reads it or computes it out of torch's sight."""
    monkeypatch.setattr(engine, "runs", lambda *tensors: False)
    monkeypatch.setattr(cross_entropy, "_check_targets", lambda *arguments: None)
    monkeypatch.setattr(stack, "check_lengths", lambda *arguments: None)
    monkeypatch.setattr(stack, "_unless_all_full", lambda lengths, x: lengths)
    monkeypatch.setattr(TiedEmbedding, "forward", nn.Embedding.forward)


class _Tape(TorchDispatchMode):
    """Keeps each operation with the very tensors and numbers it was called with."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, Any]] = []
        self._overwritten: list[tuple[Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[place] if place < len(args) else kwargs.get(argument.name)
                self._overwritten += [(one, one.clone()) for one in tree_leaves(given) if isinstance(one, Tensor)]
        found = func(*args, **kwargs)
        self._calls.append((func, args, kwargs, found))
        return found

    @torch.no_grad()
    def undo(self) -> None:
        """Leave what was there before as it was: recording runs nothing."""
        for tensor, before in reversed(self._overwritten):
            tensor.copy_(before)
        self._overwritten.clear()

    @torch.no_grad()
    def replay(self) -> None:
        """Do it all again, into the same memory."""
        for func, args, kwargs, found in self._calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                if isinstance(old, Tensor) and isinstance(new, Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class TapeRecorder:
    """Records on a CPU as CUDA does: operations, addresses and host numbers, and nothing else.

    Attributes:
        recorded: steps so far.
        replayed: steps so far.
    """

    def __init__(self) -> None:
        self.recorded = self.replayed = self.forgotten = 0

    def run(self, step: Step) -> Any:
        return step()

    def record(self, step: Step) -> tuple[Any, Callable[[], None]]:
        self.recorded += 1
        random, tape = torch.get_rng_state(), _Tape()
        with tape:
            found = step()
        tape.undo()
        torch.set_rng_state(random)

        def replay() -> None:
            self.replayed += 1
            tape.replay()

        return found, replay

    def forget(self) -> None:
        self.forgotten += 1


class NoReads(TorchDispatchMode):
    """Memory of a device: an operation that a GPU's host would wait for is an error.

    All tensors are the device's but those that are said to be the host's, and what is computed from these alone.
    """

    def __init__(self, host: list[Tensor]) -> None:
        super().__init__()
        self._host: dict[int, Any] = {}
        self._travels = False
        for tensor in host:
            self._keep(tensor)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there = [one for one in given if one.untyped_storage().data_ptr() not in self._host]
        if there and _waits(func, args):
            raise AssertionError(f"{func} makes the host wait for the device")
        if there and len(there) < len(given):
            raise AssertionError(f"{func} takes tensors of the host and of the device")
        found = func(*args, **(kwargs or {}))
        if given and not there and not self._travels:
            for one in tree_leaves(found):
                if isinstance(one, Tensor):
                    self._keep(one)
        return found

    def send(self, tensor: Tensor, device: torch.device) -> Tensor:
        """Copy to the device as it should be done."""
        self._travels = True
        try:
            return tensor.clone()
        finally:
            self._travels = False

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._host[storage.data_ptr()] = storage  # held, so that no other tensor gets its address


def _waits(func: Any, args: Any) -> bool:
    """Whether an operation's result, or the size of it, depends on numbers that the host has to see."""
    if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put, torch.ops.aten.index_put_):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags
