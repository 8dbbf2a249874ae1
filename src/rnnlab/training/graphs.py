"""Whole training steps as CUDA graphs: forward, backward, norm, clipping, update and carried state, started as one.

A graph repeats what the device did once, on the same addresses and with the same host numbers. What changes from step
to step therefore stands in tensors that are filled before each replay: windows, state, learning rate, and what a target
weighs. Random numbers come from torch's generator of the device, which a replay moves on as the step itself would. No
step may look at a number, or have sizes that depend on one.

Each shape of windows gets a graph of its own once it has come `WARM_UP_STEPS` times: until then kernels are compiled
and the optimizer makes its state, which must not belong to a graph. Shapes beyond `MOST_GRAPHS` run step by step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from rnnlab.data.windows import Window
from rnnlab.errors import ConfigError, out_of_memory
from rnnlab.models.state import State, choose, detach, restart
from rnnlab.training.console import log
from rnnlab.training.recorder import CudaRecorder, Recorder
from rnnlab.training.update import Made, Update

WARM_UP_STEPS = 3
MOST_GRAPHS = 8
"""Each holds gradients of its own, of the model's size, and the memory that a step needs is shared by all."""

Learn = Callable[[Window, State, Tensor], tuple[Tensor, Tensor | int, State]]
"""(window, state before it, what a target weighs) -> nats, hits and state after it; adds up gradients."""


class WindowShape(NamedTuple):
    """What a graph holds of a window besides its numbers.

    Attributes:
        inputs: sizes.
        targets: sizes.
        has_lengths: whether rows are of different lengths.
        all_start: whether every row begins a new sequence: then there is no state before it.
    """

    inputs: tuple[int, ...]
    targets: tuple[int, ...]
    has_lengths: bool
    all_start: bool

    @classmethod
    def of(cls, window: Window) -> WindowShape:
        """Measure a window on the CPU."""
        return cls(
            tuple(window.inputs.shape),
            tuple(window.targets.shape),
            window.lengths is not None,
            bool(window.starts.all()),
        )


@dataclass(slots=True)
class Recorded:
    """One graph, and the tensors it reads and writes.

    Attributes:
        windows: that it reads.
        before: state that it reads; None: its first window begins without.
        made: that it writes.
        after: state that it writes.
        gradients: of each parameter, that it writes.
        replay: runs it.
    """

    windows: list[Window]
    before: State
    made: Made
    after: State
    gradients: list[Tensor | None]
    replay: Callable[[], object]


class Graphs:
    """Makes steps, and repeats them as graphs where their shape has come before."""

    def __init__(
        self,
        learn: Learn,
        update: Update,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        recorder: Recorder | None = None,
    ) -> None:
        """Record nothing yet.

        Args:
            learn: runs a window forward and backward.
            update: of the optimizer; it defers.
            optimizer: fused, one rate for all groups.
            device: of the model.
            recorder: None: CUDA's.
        """
        self._learn, self._update, self._optimizer, self._device = learn, update, optimizer, device
        self._recorder: Recorder = CudaRecorder(device) if recorder is None else recorder
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        # CUDA's fused kernels read a rate of float32; on a CPU the numbers are as they would be without a graph.
        wide = torch.float32 if device.type == "cuda" else torch.float64
        self._rate = torch.zeros((), dtype=wide, device=device)
        self._share = torch.ones((), dtype=wide, device=device)
        self._seen: Counter[tuple[WindowShape, ...]] = Counter()
        self._recorded: dict[tuple[WindowShape, ...], Recorded] = {}

    def make(self, group: list[Window], state: State, num_targets: int, lr: float) -> tuple[Made, State]:
        """Make one optimizer update from the windows of a group; parameters have no gradients before it.

        Args:
            group: consecutive windows, on the CPU.
            state: before them, of which some may be written over.
            num_targets: of the whole group.
            lr: learning rate.

        Returns:
            Its numbers, of which host numbers mean nothing; and the state after it, good until the next step.

        Raises:
            ConfigError: the step does what no graph can hold.
        """
        self._share.fill_(1 / num_targets)
        self._rate.fill_(lr)
        shape = tuple(WindowShape.of(window) for window in group)
        recorded = self._recorded.get(shape)
        if recorded is None and self._may_record(shape, state):
            recorded = self._recorded[shape] = self._record(group, state, shape)
        if recorded is None:
            self._seen[shape] += 1
            windows = [window.to(self._device) for window in group]
            return self._recorder.run(lambda: self._step(windows, state, shape))
        for window, given in zip(recorded.windows, group, strict=True):
            window.fill(given)
        _fill(recorded.before, state)
        recorded.replay()
        for parameter, gradient in zip(self._parameters, recorded.gradients, strict=True):
            parameter.grad = gradient
        return _copy(recorded.made), recorded.after

    def forget(self) -> None:
        """Drop all graphs: the optimizer's state, whose addresses they hold, is about to be another."""
        self._recorded.clear()
        self._seen.clear()
        self._recorder.forget()

    def _may_record(self, shape: tuple[WindowShape, ...], state: State) -> bool:
        is_known = self._seen[shape] >= WARM_UP_STEPS and (state is not None or shape[0].all_start)
        return is_known and len(self._recorded) < MOST_GRAPHS

    def _record(self, group: list[Window], state: State, shape: tuple[WindowShape, ...]) -> Recorded:
        """Record the step of a shape.

        Raises:
            ConfigError: it does what no graph can hold.
        """
        windows = [_owned(window.to(self._device)) for window in group]
        before = None if shape[0].all_start else _clone(state)
        try:
            (made, after), replay = self._recorder.record(lambda: self._step(windows, before, shape, recording=True))
        except RuntimeError as error:
            cause = error.__context__ if isinstance(error.__context__, RuntimeError) else error
            if out_of_memory(cause) is not None:
                raise cause from None
            said = str(cause).partition("\n")[0]
            raise ConfigError(f"trainer.cuda_graph=true: no graph can hold this step ({said}); set it false") from error
        gradients = [parameter.grad for parameter in self._parameters]
        sizes = ", ".join(" x ".join(map(str, one.inputs)) for one in shape)
        log.info("steps of windows of %s run as a CUDA graph from here on", sizes)
        return Recorded(windows, before, made, after, gradients, replay)

    def _step(
        self, windows: list[Window], state: State, shape: tuple[WindowShape, ...], *, recording: bool = False
    ) -> tuple[Made, State]:
        """Do all that a step does on the device; windows and state are there."""
        before = after = state
        nats: list[Tensor] = []
        hits: list[Tensor | int] = []
        for window, (*_, all_start) in zip(windows, shape, strict=True):
            given = detach(restart(after, window.starts, all_start))
            window_nats, window_hits, after = self._learn(window, given, self._share)
            nats.append(window_nats)
            hits.append(window_hits)
            before = restart(before, window.starts, all_start)
        made = Made(0, 0.0, nats, hits, 0, self._update.gradient_norm())
        spoiled = made.spoiled()
        with self._rate_in_a_tensor(recording):
            self._update.apply(self._update.clip(made), spoiled)
        return made, choose(spoiled, detach(before), detach(after))

    @contextmanager
    def _rate_in_a_tensor(self, recording: bool) -> Iterator[None]:
        """Let the optimizer read its rate from a tensor, and know whether it is recorded."""
        groups = self._optimizer.param_groups
        kept = [{name: group[name] for name in ("lr", "capturable") if name in group} for group in groups]
        try:
            for group, old in zip(groups, kept, strict=True):
                group.update({**dict.fromkeys(old, recording), "lr": self._rate})
            yield
        finally:
            for group, old in zip(groups, kept, strict=True):
                group.update(old)


def _owned(window: Window) -> Window:
    """A window that shares no memory."""
    lengths = None if window.lengths is None else window.lengths.clone()
    return Window(window.inputs.clone(), window.targets.clone(), lengths, window.starts.clone())


def _clone(state: State) -> State:
    if isinstance(state, tuple):
        return state[0].clone(), state[1].clone()
    return None if state is None else state.clone()


def _fill(buffer: State, state: State) -> None:
    """Copy a state over another; None is all zero."""
    values = _parts(state)
    for index, mine in enumerate(_parts(buffer)):
        mine.copy_(values[index]) if values else mine.zero_()


def _parts(state: State) -> tuple[Tensor, ...]:
    if isinstance(state, tuple):
        return state
    return () if state is None else (state,)


def _copy(made: Made) -> Made:
    """Numbers that the next replay leaves alone."""
    return replace(
        made,
        nats=[nats.clone() for nats in made.nats],
        hits=[hits.clone() if isinstance(hits, Tensor) else hits for hits in made.hits],
        norm=made.norm.clone(),
        largest=None if made.largest is None else made.largest.clone(),
    )
