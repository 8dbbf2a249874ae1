"""Steps as graphs, recorded here of a CPU's operations: the same run to the last bit, whatever a step changes."""

from __future__ import annotations

import logging
import math
from contextlib import nullcontext

import pytest
import torch
from tests.training.stand_ins import TapeRecorder, as_on_a_gpu

from rnnlab.config import AdamConfig, Averaging, Backend, Cell, CosineConfig, Precision, SGDConfig
from rnnlab.errors import ConfigError
from rnnlab.training import graphs
from rnnlab.training.graphs import Graphs

MOMENTUM = SGDConfig(name="sgd", lr=0.5, momentum=0.9)
COSINE = CosineConfig(name="cosine", warmup_steps=3)  # another rate at every step


@pytest.fixture(autouse=True)
def no_cpu(monkeypatch):
    as_on_a_gpu(monkeypatch)
    monkeypatch.setattr(graphs, "WARM_UP_STEPS", 2)


def graphed(trainer):
    """Let a trainer do as with trainer.cuda_graph=true on a GPU; returns it and its recorder."""
    steps, recorder = trainer.steps, TapeRecorder()
    steps._update.defers = True
    steps._graphs = Graphs(steps._learn, steps._update, trainer.state.optimizer, trainer.device, recorder)
    return trainer, recorder


def spoiled_by_its_data(trainer, monkeypatch, token):
    """Make the loss nan of windows that begin with a token: what the device alone can know."""
    nats = trainer.task.nats

    def judge(model, outputs, window):
        found = nats(model, outputs, window)
        return torch.where(window.inputs[0, 0] == token, torch.full_like(found, math.nan), found)

    monkeypatch.setattr(trainer.task, "nats", judge)


EQUATIONS = {"backend": Backend.reference}  # on a GPU, too, the only engine with all extras in PyTorch
CASES = {
    "words": ("next_word", {"dropout": 0.3, "num_layers": 2, "optimizer": MOMENTUM, "bptt_len": 11}),
    "other sizes": ("next_word", {"random_bptt": True, "averaging": Averaging.ema, "bptt_len": 4}),
    "tunes": ("music", {"cell": Cell.gru, "clip_grad_norm": 0.2, "accumulate": 2, "max_steps": 50, "bptt_len": 4}),
    "cut entries": ("music", {"cell": Cell.rnn, "clip_grad_value": 0.01, "precision": Precision.bf16}),
    "reviews": ("sentiment", {"dropout": 0.2, "weight_drop": 0.3, "zoneout": 0.1, **EQUATIONS, "max_steps": 24}),
    "drawn": ("copy", {"recurrent_dropout": 0.2, "clip_state_grad": 0.1, "bptt_len": 5, **EQUATIONS}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_run_of_graphs_is_the_run_without(lab, tmp_path, differences, case):
    task, changes = CASES[case]
    config = lab.config(task, **{"scheduler": COSINE, "max_steps": 14, "eval_every_steps": 7, **changes})
    lab.fit(tmp_path / "plain", config)
    trainer, recorder = graphed(lab.trainer(tmp_path / "graphs", config))
    trainer.fit()
    assert recorder.recorded >= 1
    assert recorder.replayed > recorder.recorded
    assert differences(tmp_path / "plain", tmp_path / "graphs") == []


def mask_of_a_host_number(x):
    """Dropout as the CPU's engine does it: its seed is drawn, and read, on the host."""
    keep = torch.rand(x.shape, generator=torch.Generator().manual_seed(int(torch.randint(99999, ())))) > 0.3
    return x * keep / 0.7


@pytest.mark.parametrize("baked", ["rate", "targets", "mask"])
def test_what_a_graph_would_bake_in_is_noticed(lab, tmp_path, differences, monkeypatch, baked):
    """Each is a mistake that these tests are there to find."""
    # Tunes of different lengths have windows of one size with more or fewer targets.
    config = lab.config("music" if baked == "targets" else "next_word", max_steps=60, scheduler=COSINE, bptt_len=4)
    plain = lab.trainer(tmp_path / "plain", config)
    trainer, recorder = graphed(lab.trainer(tmp_path / "graphs", config))
    learn = trainer.steps._learn
    if baked == "rate":
        monkeypatch.setattr(Graphs, "_rate_in_a_tensor", lambda self, recording: nullcontext())
    elif baked == "targets":
        trainer.steps._graphs._learn = lambda window, state, share: learn(window, state, float(share))
    else:
        for one in (plain, trainer):
            one.model.dropout.forward = mask_of_a_host_number
    for one in (plain, trainer):
        torch.manual_seed(5)
        one.fit()
    assert recorder.replayed > 0
    assert "weights" in {name.partition(".")[0] for name in differences(tmp_path / "plain", tmp_path / "graphs")}


@pytest.mark.parametrize("rollbacks", [0, 1])
def test_steps_that_are_not_finite_are_skipped_on_the_device(lab, tmp_path, differences, monkeypatch, rollbacks):
    config = lab.config(
        "next_word", optimizer=MOMENTUM, checkpoint_every_steps=6, eval_every_steps=12, max_steps=24, log_every_steps=4
    )
    plain = lab.trainer(tmp_path / "plain", config)
    windows = plain.task.train_windows(0)
    token = int(windows[9].inputs[0, 0])
    assert [index for index in range(len(windows)) if windows[index].inputs[0, 0] == token] == [9]
    config.trainer.max_skipped = 1 if rollbacks else 50
    spoiled_by_its_data(plain, monkeypatch, token)
    trainer, recorder = graphed(lab.trainer(tmp_path / "graphs", config))
    if rollbacks:
        with pytest.raises(Exception, match="after 2 roll-backs"):
            plain.fit()
        with pytest.raises(Exception, match="after 2 roll-backs"):
            trainer.fit()
        assert recorder.forgotten == 3
        assert recorder.recorded >= 2, "what was recorded before a roll-back holds the old optimizer's addresses"
    else:
        plain.fit()
        trainer.fit()
        assert plain.counters.skipped == 2
        assert trainer.counters.skipped == plain.counters.skipped
    assert recorder.replayed > 0
    assert differences(tmp_path / "plain", tmp_path / "graphs") == []


@pytest.mark.parametrize("step", [1, 6])
def test_a_run_that_dies_goes_on_to_the_same_end(lab, tmp_path, differences, monkeypatch, step):
    """In the warm-up, and among replays: what is saved is the state of the step, and the new process begins to warm."""
    config = lab.config("music", dropout=0.3, scheduler=COSINE, max_steps=14, checkpoint_every_steps=1)
    lab.fit(tmp_path / "plain", config)
    make = lab.trainer
    monkeypatch.setattr(lab, "trainer", lambda *arguments: graphed(make(*arguments))[0])
    lab.fit_until(tmp_path / "graphs", config, step)
    lab.fit_until(tmp_path / "graphs", config, step + 5, resume=True)
    lab.resume(tmp_path / "graphs", config)
    assert differences(tmp_path / "plain", tmp_path / "graphs") == []


def test_gradients_of_the_last_step_are_there_to_be_shown(lab, tmp_path):
    config = lab.config("next_word", max_steps=8, clip_grad_norm=None)
    plain, (trainer, recorder) = lab.trainer(tmp_path / "a", config), graphed(lab.trainer(tmp_path / "b", config))
    for one in (plain, trainer):
        windows = one.task.train_windows(0)
        for index in range(6):
            one._step([windows[index]])
    assert recorder.replayed > 0
    for mine, theirs in zip(trainer.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(mine.grad, theirs.grad)


def test_shapes_beyond_the_bound_run_step_by_step(lab, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(graphs, "MOST_GRAPHS", 1)
    config = lab.config("next_word", random_bptt=True, bptt_len=3, max_steps=30)
    trainer, recorder = graphed(lab.trainer(tmp_path, config))
    with caplog.at_level(logging.INFO, logger="rnnlab"):
        trainer.fit()
    assert recorder.recorded == 1
    assert 0 < recorder.replayed < 28
    assert len([line for line in caplog.messages if "run as a CUDA graph from here on" in line]) == 1


def test_a_step_that_cannot_be_recorded_is_told_in_one_line(lab, tmp_path, monkeypatch):
    trainer, recorder = graphed(lab.trainer(tmp_path, lab.config("next_word")))

    def refuse(step):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(recorder, "record", refuse)
    with pytest.raises(ConfigError) as told:
        trainer.fit()
    assert str(told.value) == (
        "trainer.cuda_graph=true: no graph can hold this step (operation not permitted when stream is capturing); "
        "set it false"
    )


def test_adams_state_belongs_to_no_graph(lab, tmp_path):
    """Made while recording, it would be made anew at each replay."""
    config = lab.config("next_word", optimizer=AdamConfig(name="adam", lr=0.01))
    trainer, _ = graphed(lab.trainer(tmp_path, config))
    windows = trainer.task.train_windows(0)
    for index in range(5):
        trainer._step([windows[index]])
    steps = {float(state["step"]) for state in trainer.state.optimizer.state.values()}
    assert steps == {5.0}
