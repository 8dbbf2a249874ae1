"""Processes that train one model together: each computes its rows of every batch, and all make the same update.

Every rank reads the whole window, which is a pure function of seed, epoch and index, and keeps the rows r, r + N, ...:
neighbours in a batch are of like length, so that all have like work. A loss is a sum over the targets of a window
divided by their number in the joint batch, so that the gradient of the joint batch is the plain sum over the ranks.

What is decided from numbers that are the same on all ranks is decided by each for itself; signals, clocks and
exhausted memory are not the same, and are agreed on. A rank that is lost ends the others: its rows' states are gone.

Shapes: L layers, B rows of the joint batch, N ranks.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from rnnlab.data.windows import Window
from rnnlab.errors import LostRankError, OutOfMemoryError
from rnnlab.models.state import State, move
from rnnlab.training.counters import Counters
from rnnlab.training.place import Place
from rnnlab.training.randomness import Random
from rnnlab.training.signals import StopSignals

T = TypeVar("T")

# The first scores and saves alone while the others wait, perhaps for hours. A rank that is gone is noticed at once.
_PATIENCE = datetime.timedelta(days=7)


class Ranks:
    """The ranks of a run, as one of them sees them. Every method that speaks to the others is called by all.

    Attributes:
        rank: which this is.
        size: how many there are, N.
    """

    def __init__(self, place: Place, device: torch.device) -> None:
        """Find the others.

        Args:
            place: of this process.
            device: of the gradients: over gloo on a CPU, over NCCL on CUDA, with gloo for what the host has to know.

        Raises:
            LostRankError: another has ended.
        """
        self.rank, self.size = place.rank, place.size
        self._flat = torch.empty(0)
        backend = "gloo" if device.type == "cpu" else f"cpu:gloo,{device.type}:nccl"
        found_by = "env://" if place.store is None else f"file://{(place.store / 'store').absolute()}"
        with self._noticing():
            dist.init_process_group(
                backend,
                init_method=found_by,
                rank=place.rank,
                world_size=place.size,
                timeout=_PATIENCE,
                device_id=None if device.type == "cpu" else device,
            )

    @property
    def is_first(self) -> bool:
        """Whether this one writes the run's files."""
        return self.rank == 0

    def close(self) -> None:
        """Leave the others."""
        dist.destroy_process_group()

    def share(self, window: Window) -> Window:
        """This rank's rows of a window; there may be none."""
        rows = slice(self.rank, None, self.size)
        lengths = None if window.lengths is None else window.lengths[rows]
        is_full = lengths is not None and bool((lengths == window.inputs.shape[0]).all())
        return Window(
            inputs=window.inputs[:, rows].contiguous(),
            targets=(window.targets[rows] if window.targets.dim() == 1 else window.targets[:, rows]).contiguous(),
            lengths=None if lengths is None or is_full else lengths.contiguous(),
            starts=window.starts[rows].contiguous(),
        )

    def share_state(self, state: State) -> State:
        """This rank's rows of the joint state."""
        if isinstance(state, tuple):
            return self._rows(state[0]), self._rows(state[1])
        return None if state is None else self._rows(state)

    def gather_state(self, state: State, num_rows: int) -> State:
        """Return the joint state to the first rank, on the CPU, None to the others.

        Args:
            state: of this rank's rows; None: zeros.
            num_rows: of the joint batch, B.
        """
        shares = self.gather(move(state, torch.device("cpu")))
        if shares is None or all(share is None for share in shares):
            return None
        if any(isinstance(share, tuple) for share in shares):
            h, c = ([share[part] if isinstance(share, tuple) else None for share in shares] for part in (0, 1))
            return _joint(h, num_rows), _joint(c, num_rows)
        return _joint(shares, num_rows)

    def add_up(self, parameters: Sequence[nn.Parameter], numbers: Sequence[Tensor | int]) -> list[Tensor]:
        """Replace every gradient by its sum over the ranks.

        A parameter that has no gradient on any rank gets none: the optimizer leaves it as it is.

        Args:
            parameters: of one dtype; the gradients become parts of one tensor, which the next call overwrites.
            numbers: scalars.

        Returns:
            The sums of the numbers, in the dtype of the parameters.

        Raises:
            OutOfMemoryError: another rank's memory did not hold its rows.
            LostRankError: another has ended.
        """
        sizes = [parameter.numel() for parameter in parameters]
        if self._flat.numel() != sum(sizes) + len(numbers):  # before the others are told that all is well here
            self._flat = parameters[0].detach().new_empty(sum(sizes) + len(numbers))
        failed, *has_gradient = self.largest([0, *(parameter.grad is not None for parameter in parameters)])
        if failed:
            advice = "lower trainer.batch_size, trainer.bptt_len or model.hidden_size"
            raise OutOfMemoryError(f"rank {int(failed) - 1} of {self.size} is out of memory; {advice}")
        parts = self._flat.split([*sizes, len(numbers)])
        for parameter, part in zip(parameters, parts, strict=False):
            if parameter.grad is None:
                part.zero_()
            else:
                part.copy_(parameter.grad.flatten())
        for index, number in enumerate(numbers):
            parts[-1][index] = number
        with self._noticing():
            dist.all_reduce(self._flat)
        for parameter, part, has in zip(parameters, parts, has_gradient, strict=False):
            parameter.grad = part.view_as(parameter) if has else None
        return list(parts[-1].clone())

    def tell_failure(self, parameters: Sequence[nn.Parameter]) -> None:
        """Answer the others, who add up their gradients, that there is no memory for those of this rank."""
        self.largest([self.rank + 1, *(0 for _ in parameters)])

    def largest(self, values: Sequence[float]) -> list[float]:
        """Return the largest of each value over the ranks.

        Raises:
            LostRankError: another has ended.
        """
        numbers = torch.tensor(values, dtype=torch.float64)
        with self._noticing():
            dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return numbers.tolist()

    def from_first(self, make: Callable[[], T]) -> T:
        """Return to all what the first rank alone makes, its tensors on the CPU."""
        box: list[Any] = [make() if self.is_first else None]
        with self._noticing():
            dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]

    def gather(self, value: Any) -> list[Any] | None:
        """Return to the first rank what each gives, in their order; its tensors are on the CPU. None to the others."""
        found: list[Any] | None = [None] * self.size if self.is_first else None
        with self._noticing():
            dist.gather_object(value, found, dst=0)
        return found

    def of_the_others(self, state: State, num_rows: int, random: Random) -> dict[str, Any]:
        """Return to the first rank what its checkpoint holds of the others; nothing to them.

        Args:
            state: of this rank's rows.
            num_rows: of the joint batch.
            random: where this rank's generators stand.
        """
        joint = self.gather_state(state, num_rows)
        randoms = self.gather(random)
        return {} if randoms is None else {"state": joint, "ranks": randoms[1:]}

    def asked(self, signals: StopSignals, counters: Counters) -> tuple[bool, bool]:
        """Whether signals ask to stop and to save: what has reached one rank holds for all, after the same step.

        The seconds, which may end the run, become those of the slowest.
        """
        mine = (signals.received or 0, signals.asked_to_save, counters.seconds)
        received, asked_to_save, counters.seconds = self.largest(mine)
        if received:
            signals.received = int(received)
        return bool(received), bool(asked_to_save)

    def seed(self, seed: int, step: int = 0) -> None:
        """Give this rank generators of its own, for dropout: the first draws on as a process alone does.

        Args:
            seed: of the run.
            step: at which it begins to draw.
        """
        if self.rank > 0:
            of_rank = np.random.SeedSequence([seed, self.rank, step]).generate_state(1, np.uint64)
            torch.manual_seed(int(of_rank[0]))

    def wait(self) -> None:
        """Wait until all are here."""
        self.largest([0.0])

    def _rows(self, h: Tensor) -> Tensor:
        return h[:, self.rank :: self.size].contiguous()

    @contextmanager
    def _noticing(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo's and NCCL's own words name a socket
            lost = "another rank has ended" if self.size > 2 else f"rank {1 - self.rank} has ended"
            raise LostRankError(f"{lost} before its time, and rank {self.rank} cannot go on") from error


def _joint(shares: list[Any], num_rows: int) -> Tensor:
    """Put the rows of all ranks in their places, (L, B, H)."""
    first = next(share for share in shares if share is not None)
    joint = first.new_zeros(first.shape[0], num_rows, first.shape[2])
    for rank, share in enumerate(shares):
        if share is not None:
            joint[:, rank :: len(shares)] = share
    return joint
