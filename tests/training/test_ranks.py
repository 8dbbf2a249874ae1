"""Several processes equal one: two and three that are forked here train together over gloo.

A rank's rows give its part of the joint gradient; what is added in another order differs by rounding, which Adam makes
larger where a gradient is almost zero. Everything else is exact.
"""

import json
import math
import os
import signal
import tempfile
import traceback
from pathlib import Path

import pytest
import torch

from rnnlab.config import AdamConfig, Averaging, Cell, SGDConfig
from rnnlab.data.windows import Window
from rnnlab.errors import UserError
from rnnlab.training.checkpoint import load_training
from rnnlab.training.place import Place
from rnnlab.training.ranks import Ranks

CPU = torch.device("cpu")
BUG, SECONDS = 70, 60
ROUNDING = 1e-6  # of weights, after 50 steps in float32


def together(number, work):
    """Run `work(ranks)` in `number` processes that know each other; return their exit codes, negative for signals."""
    with tempfile.TemporaryDirectory() as store:
        children = []
        for rank in range(number):
            child = os.fork()
            if child == 0:
                signal.alarm(SECONDS)  # none outlives a test that hangs
                os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
                code = BUG
                try:
                    work(Ranks(Place(rank, number, rank, number, Path(store)), CPU))
                    code = 0
                except UserError as error:
                    code = error.exit_code
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def saved(folder):
    return load_training(folder / "checkpoints")


def largest_difference(one, other):
    return max(float((weight - other[name]).abs().max()) for name, weight in one.items())


def fit(lab, folder, config, number, *, resume=False, before=lambda trainer, ranks: None):
    """A whole run of `number` processes; each leaves its weights beside the run."""

    def work(ranks):
        trainer = lab.trainer(folder, config, ranks)
        if resume:
            torch.manual_seed(987)  # a new process's generators stand anywhere
            trainer.resume()
        before(trainer, ranks)
        try:
            trainer.fit()
        finally:
            torch.save(trainer.model.state_dict(), folder / f"weights-{ranks.rank}.pt")
            facts = {"skipped": trainer.counters.skipped, "rollbacks": trainer.counters.rollbacks}
            (folder / f"facts-{ranks.rank}.json").write_text(json.dumps({**facts, "step": trainer.counters.step}))

    lab.task(config)  # read once, before the processes part
    folder.mkdir(exist_ok=True)
    return together(number, work)


def facts(folder, rank):
    return json.loads((folder / f"facts-{rank}.json").read_text())


def weights_of(folder, rank):
    return torch.load(folder / f"weights-{rank}.pt", weights_only=True)


def die_at(step, rank, number=signal.SIGKILL):
    """Let a rank send itself a signal before it makes a step."""

    def before(trainer, ranks):
        make_step = trainer._step

        def step_or_die(group):
            if trainer.counters.step == step and ranks.rank == rank:
                os.kill(os.getpid(), number)
            return make_step(group)

        trainer._step = step_or_die

    return before


EQUAL = {
    "next_word": {"accumulate": 2, "averaging": Averaging.mean, "cell": Cell.gru},
    "sentiment": {"batch_size": 38, "bidirectional": True, "optimizer": SGDConfig(name="sgd", lr=0.3, momentum=0.9)},
    "music": {"clip_grad_value": 0.05, "num_layers": 2, "optimizer": AdamConfig(name="adam", lr=0.003)},
}


@pytest.mark.parametrize("task", EQUAL)
def test_two_processes_equal_one_with_the_joint_batch(task, lab, tmp_path):
    config = lab.config(task, max_steps=50, clip_grad_norm=0.3, log_every_steps=10, **EQUAL[task])
    lab.fit(tmp_path / "one", config)
    assert fit(lab, tmp_path / "two", config, 2) == [0, 0]
    (one, of_one), (two, of_two) = saved(tmp_path / "one"), saved(tmp_path / "two")
    assert largest_difference(one, two) < ROUNDING
    # The first, which the checkpoint is of, has read the best weights since; the second stands where it trained.
    assert largest_difference(of_two["model"], weights_of(tmp_path / "two", 1)) == 0
    for name in ("step", "epoch", "index", "tokens", "best_step"):
        assert of_one["counters"][name] == of_two["counters"][name], name
    h, h_two = (state[0] if isinstance(state, tuple) else state for state in (of_one["state"], of_two["state"]))
    assert h is None or torch.allclose(h, h_two, rtol=0, atol=1e-5)
    lines, lines_two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert len(lines) == len(lines_two)
    for line, other in zip(lines, lines_two, strict=True):
        assert line == pytest.approx(other, rel=1e-4)  # sums over all ranks, means of them


def test_more_processes_than_rows_and_rows_that_end_before_others_are_no_trouble(lab, tmp_path):
    config = lab.config("music", max_steps=30, batch_size=15, bptt_len=30, clip_grad_norm=None)
    rows = {window.inputs.shape[1] for window in lab.task(config).train_windows(0)}
    assert min(rows) < 5
    lab.fit(tmp_path / "one", config)
    assert fit(lab, tmp_path / "five", config, 5) == [0] * 5
    assert largest_difference(saved(tmp_path / "one")[0], saved(tmp_path / "five")[0]) < ROUNDING


def test_a_parameter_that_has_no_gradient_on_any_rank_gets_none():
    def work(ranks):
        parameters = [torch.nn.Parameter(torch.ones(2)) for _ in range(3)]
        parameters[0].grad = torch.full((2,), 1.0 + ranks.rank)
        if ranks.rank == 1:
            parameters[1].grad = torch.full((2,), 5.0)
        sums = ranks.add_up(parameters, [torch.tensor(0.5), 2 * ranks.rank])
        assert [number.item() for number in sums] == [1.0, 2.0]
        assert [p.grad if p.grad is None else p.grad.tolist() for p in parameters] == [[3.0, 3.0], [5.0, 5.0], None]

    assert together(2, work) == [0, 0]


def test_a_resumed_run_of_two_is_the_uninterrupted_one_to_the_last_bit(lab, tmp_path, differences):
    config = lab.config(dropout=0.4, max_steps=9, checkpoint_every_steps=4, eval_every_steps=9)
    assert fit(lab, tmp_path / "whole", config, 2) == [0, 0]
    assert fit(lab, tmp_path / "halves", config, 2, before=die_at(6, rank=1)) == [10, -signal.SIGKILL]
    assert saved(tmp_path / "halves")[1]["counters"]["step"] == 4
    assert fit(lab, tmp_path / "halves", config, 2, resume=True) == [0, 0]
    assert differences(tmp_path / "whole", tmp_path / "halves") == []
    first, second = (saved(tmp_path / "whole")[1][name] for name in ("rng", "ranks"))
    assert not torch.equal(first["cpu"], second[0]["cpu"])  # each draws dropout of its own


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_run_goes_on_with_another_number_of_processes_equal_to_rounding(before, after, lab, tmp_path):
    short, config = (lab.config(max_steps=steps, checkpoint_every_steps=5) for steps in (5, 12))
    lab.fit(tmp_path / "whole", config)
    if before == 2:
        assert fit(lab, tmp_path / "run", short, 2) == [0, 0]
        lab.resume(tmp_path / "run", config)
    else:
        lab.fit(tmp_path / "run", short)
        assert fit(lab, tmp_path / "run", config, 2, resume=True) == [0, 0]
    assert largest_difference(saved(tmp_path / "whole")[0], saved(tmp_path / "run")[0]) < ROUNDING


def spoil(steps, rank, how):
    """Let the loss of a rank be spoiled at some steps."""

    def before(trainer, ranks):
        nats = trainer.task.nats

        def spoiled(model, outputs, window):
            value = nats(model, outputs, window)
            return how(value) if model.training and ranks.rank == rank and trainer.counters.step in steps else value

        trainer.task.nats = spoiled

    return before


def test_a_step_that_is_not_finite_on_one_rank_is_skipped_by_all_and_all_go_back_together(lab, tmp_path):
    config = lab.config(max_steps=12, max_skipped=2, checkpoint_every_steps=4, log_every_steps=1)
    before = spoil({2, 6, 7}, 1, lambda value: value + math.nan)
    # The second time, too: with half the rate step 6 and 7 come again, and again; then it is over.
    assert fit(lab, tmp_path / "run", config, 2, before=before) == [5, 5]
    assert facts(tmp_path / "run", 0) == facts(tmp_path / "run", 1)
    assert facts(tmp_path / "run", 0)["rollbacks"] == 2
    assert largest_difference(weights_of(tmp_path / "run", 0), weights_of(tmp_path / "run", 1)) == 0


def test_memory_that_one_rank_lacks_undoes_the_step_on_all_and_the_state_before_it_is_saved(lab, tmp_path):
    def lack(value):
        raise MemoryError

    config = lab.config(max_steps=12)
    assert fit(lab, tmp_path / "run", config, 2, before=spoil({5}, 1, lack)) == [6, 6]
    assert saved(tmp_path / "run")[1]["counters"]["step"] == 5
    assert fit(lab, tmp_path / "run", config, 2, resume=True) == [0, 0]
    lab.fit(tmp_path / "whole", config)
    assert largest_difference(saved(tmp_path / "whole")[0], saved(tmp_path / "run")[0]) < ROUNDING


def test_a_signal_to_one_rank_stops_all_after_the_same_step_and_they_save(lab, tmp_path):
    config = lab.config(max_steps=12)
    assert fit(lab, tmp_path / "run", config, 2, before=die_at(5, 1, signal.SIGTERM)) == [143, 143]
    assert [facts(tmp_path / "run", rank)["step"] for rank in (0, 1)] == [6, 6]
    assert saved(tmp_path / "run")[1]["counters"]["step"] == 6


def test_rows_are_dealt_out_in_turn_and_gathered_in_their_places(tmp_path):
    window = Window(
        inputs=torch.arange(10).view(2, 5),
        targets=torch.arange(5),
        lengths=torch.tensor([2, 1, 2, 1, 2]),
        starts=torch.tensor([True, False, True, False, False]),
    )
    h = torch.randn(1, 5, 3, generator=torch.Generator().manual_seed(0))

    def work(ranks):
        share = ranks.share(window)
        rows = [[0, 2, 4], [1, 3]][ranks.rank]
        assert share.inputs.tolist() == [rows, [row + 5 for row in rows]]
        assert share.targets.tolist() == rows
        # All rows of the first are full: no lengths, and the fast way through the cells.
        assert (share.lengths is None) if ranks.rank == 0 else (share.lengths.tolist() == [1, 1])
        assert share.starts.tolist() == [bool(window.starts[row]) for row in rows]
        for state in (h, (h, 2 * h), None):
            mine = ranks.share_state(state)
            joint = ranks.gather_state(mine, 5)
            if ranks.is_first and state is not None:
                pairs = zip(joint, state, strict=True) if isinstance(state, tuple) else [(joint, state)]
                assert all(torch.equal(part, wanted) for part, wanted in pairs)
            else:
                assert joint is None
        # A rank whose rows all begin anew carries nothing: zeros.
        joint = ranks.gather_state(ranks.share_state(h) if ranks.rank == 0 else None, 5)
        assert joint is None or torch.equal(joint, h * torch.tensor([1.0, 0, 1, 0, 1])[:, None])

    assert together(2, work) == [0, 0]
