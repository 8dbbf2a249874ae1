"""No step makes the host wait for a GPU between two log lines: neither as usual nor as what a graph records."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from tests.training.stand_ins import NoReads, TapeRecorder, as_on_a_gpu

from rnnlab.cells import backends, triton
from rnnlab.config import AdamConfig, Averaging, Backend, Cell, Precision, SGDConfig
from rnnlab.data import windows as windows_module
from rnnlab.training.graphs import Graphs

STEPS = 4
CASES = {
    "next_word": {"dropout": 0.3, "num_layers": 2, "averaging": Averaging.mean, "tie_weights": True, "hidden_size": 5},
    "music": {"bptt_len": 4, "accumulate": 2, "averaging": Averaging.ema},
    "sentiment": {"bidirectional": True, "dropout": 0.3, "num_layers": 2, "clip_grad_value": 0.1},
    "adding": {"weight_drop": 0.2},
    "copy": {"bptt_len": 5, "precision": Precision.bf16},
    "ball": {"dropout": 0.2},
}
BACKENDS = (Backend.torch, Backend.cpu, Backend.reference, Backend.triton)


@contextmanager
def no_reads(trainer, groups):
    """Let steps of these windows fail where a GPU's host would wait."""
    host = [part for group in groups for one in group for part in (one.inputs, one.targets, one.starts, one.lengths)]
    if trainer.state.averaged is not None:
        host.append(trainer.state.averaged.n_averaged)
    mode = NoReads([part for part in host if part is not None])
    with pytest.MonkeyPatch.context() as patch, mode:
        patch.setattr(windows_module, "_within_reach", mode.send)
        for name in ("cpu", "numpy", "tolist"):  # which on a CPU are no operations
            patch.setattr(torch.Tensor, name, refuse)
        yield


def refuse(tensor):
    raise AssertionError("a copy to the host makes the host wait for the device")


def make_steps(trainer, first=0):
    """Steps on the windows of a pass from a group on, up to a log line."""
    source, size = trainer.task.train_windows(0), trainer._config.accumulate
    groups = [
        [source[index] for index in range(begin, begin + size)] for begin in range(first, first + STEPS * size, size)
    ]
    with no_reads(trainer, groups):
        for group in groups:
            trainer.steps.make(group, trainer.counters)
            trainer.counters.index += size


def deferring(lab, folder, task, **changes):
    """A trainer that reads later, as on a GPU."""
    optimizer = SGDConfig(name="sgd", lr=0.1, momentum=0.9) if task == "copy" else AdamConfig(name="adam", lr=0.01)
    trainer = lab.trainer(folder, lab.config(task, **{"log_every_steps": 3, "optimizer": optimizer, **changes}))
    trainer.steps._update.defers = True
    return trainer


@pytest.fixture(autouse=True)
def no_cpu(monkeypatch):
    as_on_a_gpu(monkeypatch)


@pytest.fixture
def compiled_kernels(monkeypatch):
    """Let triton's passes run here, but for the kernels themselves, whose numbers nobody may ask for."""
    from rnnlab.cells.triton import launch

    there = backends.ENGINES["triton"]._replace(devices=None, why_unavailable=lambda: None)
    monkeypatch.setitem(backends.ENGINES, "triton", there)
    monkeypatch.setattr(triton, "check_input", lambda x: None)
    monkeypatch.setattr(launch, "_start", lambda *arguments: None)


# As usual and as graphs; what a cell does is the same in both.
@pytest.mark.parametrize(("backend", "as_graphs"), [*((backend, True) for backend in BACKENDS), (Backend.torch, False)])
@pytest.mark.parametrize("cell", [Cell.lstm, Cell.gru, Cell.rnn])
@pytest.mark.parametrize("task", CASES)
def test_no_step_waits(lab, tmp_path, compiled_kernels, task, cell, backend, as_graphs):
    trainer = deferring(lab, tmp_path, task, cell=cell, backend=backend, **CASES[task])
    if as_graphs:
        steps = trainer.steps
        steps._graphs = Graphs(steps._learn, steps._update, trainer.state.optimizer, trainer.device, TapeRecorder())
    first = 25 if task == "music" else 0  # windows of tunes that end
    make_steps(trainer, first)
    assert trainer.counters.step == STEPS
    assert len(trainer.steps.readings.unread) == STEPS


EXTRAS = {"zoneout": 0.1, "recurrent_dropout": 0.2, "layer_norm": True, "clip_state_grad": 0.5, "recompute": True}


@pytest.mark.parametrize("cell", [Cell.lstm, Cell.gru, Cell.rnn])
def test_no_extra_waits(lab, tmp_path, cell):
    make_steps(deferring(lab, tmp_path, "music", bptt_len=4, cell=cell, backend=Backend.reference, **EXTRAS), 25)


WAITS = {
    "a number": lambda nats, outputs, window: nats * (1.0 if nats.item() > 0 else 2.0),
    "a branch": lambda nats, outputs, window: nats if nats > 0 else -nats,
    "a list": lambda nats, outputs, window: nats + sum(window.targets.tolist()[0]) * 0,
    "a selection": lambda nats, outputs, window: nats + outputs[window.inputs == 1].sum() * 0,
    "places": lambda nats, outputs, window: nats + window.inputs.nonzero().sum() * 0,
    "different ones": lambda nats, outputs, window: nats + window.inputs.unique().sum() * 0,
}


@pytest.mark.parametrize("what", WAITS)
def test_a_step_that_waits_is_found(lab, tmp_path, monkeypatch, what):
    trainer = deferring(lab, tmp_path, "next_word")
    nats = trainer.task.nats
    monkeypatch.setattr(
        trainer.task, "nats", lambda model, outputs, window: WAITS[what](nats(model, outputs, window), outputs, window)
    )
    with pytest.raises(AssertionError, match="makes the host wait for the device"):
        make_steps(trainer)


def test_a_tensor_of_the_host_in_a_step_is_found(lab, tmp_path, monkeypatch):
    trainer = deferring(lab, tmp_path, "next_word")
    monkeypatch.setattr(trainer.task, "hits", lambda outputs, window: (window.targets == source[0].targets).sum())
    source = trainer.task.train_windows(0)
    source = [source[0]]
    with no_reads(trainer, [source]), pytest.raises(AssertionError, match="of the host and of the device"):
        trainer.steps.make(source, trainer.counters)


@pytest.mark.parametrize("changes", [{"sampled_words": 5}, {"decoder": "adaptive", "cutoffs": [4, 8]}])
def test_decoders_that_look_at_their_targets_are_those_that_a_graph_refuses(lab, tmp_path, changes):
    """With these a step waits; `rnnlab.commandline.checks` refuses them with trainer.cuda_graph."""
    from rnnlab.config import Decoder

    given = {name: Decoder(value) if name == "decoder" else value for name, value in changes.items()}
    trainer = deferring(lab, tmp_path, "next_word", hidden_size=16, **given)
    with pytest.raises(AssertionError, match="makes the host wait for the device"):
        make_steps(trainer)
