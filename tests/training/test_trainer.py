import copy
import json
import math
import weakref
from dataclasses import replace

import pytest
import torch

from rnnlab.config import (
    AdamConfig,
    Averaging,
    Cell,
    CosineConfig,
    NextWordConfig,
    Precision,
    RMSpropConfig,
    SGDConfig,
)
from rnnlab.models import detach, reset
from rnnlab.training.checkpoint import load_model

TASKS = ("next_word", "sentiment", "music")
CPU = torch.device("cpu")


def sgd(lr=0.1, **settings):
    return SGDConfig(name="sgd", lr=lr, **settings)


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def flat(weights):
    return torch.cat([tensor.flatten() for tensor in weights.values()])


@pytest.fixture
def cycle(lab, tmp_path):
    """Settings for a text that only says one thing, over and over."""

    def make(**changes):
        (tmp_path / "cycle.txt").write_text("one two three four five six seven\n" * 150)
        task = NextWordConfig(name="next_word", corpus=str(tmp_path / "cycle.txt"))
        config = lab.config(batch_size=8, bptt_len=14, num_samples=0, **changes)
        return replace(config, task=task)

    return make


# --- it learns, and counts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", list(Cell))
def test_thirty_steps_learn_a_repeating_text(lab, cycle, tmp_path, cell):
    config = cycle(
        max_steps=30, hidden_size=16, embedding_size=8, cell=cell, optimizer=AdamConfig(name="adam", lr=0.03)
    )
    trainer = lab.fit(tmp_path / "run", config)
    # A uniform guess among the 9 tokens costs ln 9 = 2.2 nats; the text itself holds none.
    assert trainer.state.metrics["valid/loss"] < 0.3
    assert trainer.state.metrics["test/perplexity"] == pytest.approx(math.exp(trainer.state.metrics["test/loss"]))


@pytest.mark.parametrize(
    "optimizer",
    [
        sgd(10.0),
        sgd(2.0, momentum=0.9, nesterov=True),
        AdamConfig(name="adam", lr=0.03),
        AdamConfig(name="adamw", lr=0.03, weight_decay=0.01),
        RMSpropConfig(name="rmsprop", lr=0.01),
    ],
    ids=["sgd", "nesterov", "adam", "adamw", "rmsprop"],
)
def test_every_optimizer_learns(lab, cycle, tmp_path, points, optimizer):
    trainer = lab.fit(tmp_path / "run", cycle(max_steps=15, hidden_size=16, optimizer=optimizer, log_every_steps=1))
    losses = points(tmp_path / "run")["train/loss"]
    assert losses[1] == pytest.approx(math.log(9), abs=0.1)
    assert trainer.state.metrics["valid/loss"] < losses[1] - 0.1


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_to_its_test_score(lab, tmp_path, task):
    trainer = lab.fit(tmp_path, lab.config(task, max_steps=3))
    metric = trainer.task.metric
    assert {f"valid/{metric}", f"test/{metric}", "valid/loss", "test/loss"} <= set(trainer.state.metrics)
    facts = trainer.facts()
    json.dumps(facts)
    assert facts["metric"] == f"valid/{metric}"
    assert (facts["steps"], facts["best_step"]) == (3, 3)
    assert facts["tokens_per_second"] > 0
    windows = trainer.task.train_windows(0)
    assert facts["epochs"] == round(3 / len(windows), 4)
    assert trainer.counters.tokens == sum(windows[index].num_tokens for index in range(3))


@pytest.mark.parametrize("accumulate", [1, 3, 5, 100])
def test_an_epoch_has_as_many_steps_as_groups_of_windows(lab, tmp_path, accumulate):
    config = lab.config(accumulate=accumulate, max_steps=None, max_epochs=2, num_samples=0)
    trainer = lab.trainer(tmp_path, config)
    made = []
    step = trainer.state.optimizer.step
    trainer.state.optimizer.step = lambda: made.append(1) or step()
    trainer.fit()
    windows = len(trainer.task.train_windows(0))
    assert len(made) == trainer.counters.step == trainer.state.total_steps == 2 * math.ceil(windows / accumulate)
    assert (trainer.counters.epoch, trainer.counters.index) == (2, 0)
    assert trainer.counters.tokens == 2 * trainer.task.corpus["train_tokens"]


def test_each_window_is_trained_on_once_an_epoch_in_order(lab, tmp_path):
    config = lab.config("music", accumulate=4, max_steps=None, max_epochs=2, num_samples=0)
    trainer = lab.trainer(tmp_path, config)
    seen = []
    step = trainer._step
    trainer._step = lambda group: seen.extend(window.inputs for window in group) or step(group)
    trainer.fit()
    expected = [w[i].inputs for w in (trainer.task.train_windows(e) for e in (0, 1)) for i in range(len(w))]
    assert len(seen) == len(expected)
    assert all(a.equal(b) for a, b in zip(seen, expected, strict=True))


# --- gradients -------------------------------------------------------------------------------------------------------


def gradient_by_hand(model, task, windows):
    """Windows of one pass, the state carried and cut between them, every target of all of them with one weight."""
    model = copy.deepcopy(model).double()
    state, nats = None, 0.0
    for window in windows:
        outputs, state = model(window.inputs, detach(reset(state, window.starts)), window.lengths)
        nats = nats + torch.nn.functional.cross_entropy(*masked(outputs, window), ignore_index=-100, reduction="sum")
    (nats / sum(window.num_targets for window in windows)).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def masked(outputs, window):
    targets = window.targets
    if targets.dim() == 2 and window.lengths is not None:
        targets = targets.masked_fill(torch.arange(len(targets))[:, None] >= window.lengths, -100)
    return outputs.flatten(0, -2), targets.flatten()


@pytest.mark.parametrize("task", TASKS)
def test_accumulated_windows_weigh_every_target_the_same(lab, tmp_path, task):
    config = lab.config(
        task,
        accumulate=100,
        clip_grad_norm=None,
        max_steps=1,
        optimizer=sgd(1e-9),
        bptt_len=None if task == "sentiment" else 40,
    )
    trainer = lab.trainer(tmp_path, config)
    windows = trainer.task.train_windows(0)
    group = [windows[index] for index in range(len(windows))]
    counts = {window.num_targets for window in group}
    assert len(counts) > 1, "windows of different sizes, or a mean of means would do"
    expected = gradient_by_hand(trainer.model, trainer.task, group)
    values = trainer._step(group)
    norm = math.sqrt(sum(float(grad.square().sum()) for grad in expected.values()))
    for name, parameter in trainer.model.named_parameters():
        # Sums in float32 over some thousand targets, each with seven digits.
        torch.testing.assert_close(parameter.grad.double(), expected[name], rtol=1e-4, atol=1e-5 * norm)
    assert values["grad_norm"] == pytest.approx(norm, rel=1e-5)


def test_no_gradient_crosses_a_windows_edge_and_the_state_does(lab, tmp_path):
    trainer = lab.trainer(tmp_path, lab.config(optimizer=sgd(1e-9), clip_grad_norm=None, cell=Cell.gru))
    windows = trainer.task.train_windows(0)
    trainer._step([windows[0]])
    state = trainer.steps.state.clone()
    assert trainer.steps.state.grad_fn is None
    trainer._step([windows[1]])
    model = copy.deepcopy(trainer.model)
    model.zero_grad()
    outputs, _ = trainer.task.forward(model, windows[1], state)
    loss = trainer.task.nats(model, outputs, windows[1]) / windows[1].num_targets
    loss.backward()
    for one, other in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-7)  # after a step of 1e-9


def test_each_epoch_starts_from_an_empty_memory(lab, tmp_path):
    trainer = lab.trainer(tmp_path, lab.config(max_steps=None, max_epochs=2, num_samples=0))
    given = []
    forward = trainer.task.forward
    with pytest.MonkeyPatch.context() as context:
        context.setattr(
            trainer.task,
            "forward",
            lambda model, window, state: (
                (given.append(state is None) if model.training else None) or forward(model, window, state)
            ),
        )
        trainer.fit()
    windows = len(trainer.task.train_windows(0))
    assert [number for number, empty in enumerate(given) if empty] == [0, windows]


def test_clipping_bounds_the_update_and_the_norm_before_it_is_logged(lab, tmp_path, points):
    config = lab.config(optimizer=sgd(1.0), clip_grad_norm=1e-3, log_every_steps=1, max_steps=4)
    trainer = lab.trainer(tmp_path, config)
    updates, norms, lengths = [], [], []
    step = trainer._step

    def watched(group):
        before = flat(weights_of(trainer.model)).double()
        norms.append(step(group)["grad_norm"])
        lengths.append(float(before.norm()))
        updates.append(float((flat(weights_of(trainer.model)) - before).norm()))
        return {"loss": 1.0, "grad_norm": norms[-1]}

    trainer._step = watched
    trainer.fit()
    found = points(tmp_path)
    assert updates == pytest.approx([1e-3] * 4, rel=1e-3)  # float32 weights of order 0.1 moved by 1e-5 each
    assert min(norms) > 0.05
    assert list(found["optim/grad_norm"].values()) == pytest.approx(norms, rel=1e-6)
    ratios = [update / length for update, length in zip(updates, lengths, strict=True)]
    assert list(found["optim/update_ratio"].values()) == pytest.approx(ratios, rel=1e-3)  # as above
    assert list(found["optim/clipped_share"].values()) == [1.0] * 4


def test_a_gradient_below_the_limit_is_left_alone(lab, tmp_path, points):
    ends = []
    for number, limit in enumerate((None, 1e4)):
        config = lab.config(optimizer=sgd(1.0), clip_grad_norm=limit, log_every_steps=1, max_steps=4)
        ends.append(flat(weights_of(lab.fit(tmp_path / str(number), config).model)))
        assert set(points(tmp_path / str(number))["optim/clipped_share"].values()) == {0.0}
    assert ends[0].equal(ends[1])


def test_clipping_by_value_bounds_every_entry(lab, tmp_path, points):
    config = lab.config(optimizer=sgd(1.0), clip_grad_norm=None, clip_grad_value=1e-4, log_every_steps=1, max_steps=2)
    trainer = lab.trainer(tmp_path, config)
    before = flat(weights_of(trainer.model))
    trainer.fit()
    largest = (flat(weights_of(trainer.model)) - before).abs().max().item()
    assert largest == pytest.approx(2e-4, rel=0.01)  # float32 weights of order 0.1
    assert max(float(p.grad.abs().max()) for p in trainer.model.parameters()) == pytest.approx(1e-4)
    assert set(points(tmp_path)["optim/clipped_share"].values()) == {1.0}


# --- when it ends ----------------------------------------------------------------------------------------------------


def test_it_ends_after_max_steps_in_the_middle_of_an_epoch(lab, tmp_path):
    trainer = lab.fit(tmp_path, lab.config(max_steps=5, num_samples=0))
    assert (trainer.counters.step, trainer.counters.epoch, trainer.counters.evaluated_at) == (5, 0, 5)


def test_it_ends_after_max_epochs(lab, tmp_path):
    trainer = lab.fit(tmp_path, lab.config("sentiment", max_steps=None, max_epochs=2, num_samples=0))
    assert (trainer.counters.step, trainer.counters.epoch) == (20, 2)
    assert trainer.facts()["epochs"] == 2


def test_whichever_limit_comes_first_ends_it(lab, tmp_path):
    trainer = lab.trainer(tmp_path, lab.config(max_steps=100, max_epochs=1, num_samples=0))
    assert trainer.state.total_steps == 12
    trainer.fit()
    assert trainer.counters.step == 12


def test_minutes_count_training_alone_and_end_it_after_a_step(lab, tmp_path):
    trainer = lab.fit(tmp_path, lab.config(max_steps=None, max_minutes=1e-9, num_samples=0))
    assert trainer.counters.step == 1
    assert trainer.state.total_steps is None
    assert trainer.counters.evaluated_at == 1


def test_it_ends_early_when_the_score_does_not_improve(lab, tmp_path, points):
    config = lab.config(optimizer=sgd(1e-12), patience=2, eval_every_steps=3, max_steps=100, num_samples=0)
    trainer = lab.fit(tmp_path, config)
    # Best at 3, as good at 6 and 9: equal is no gain.
    assert (trainer.counters.step, trainer.counters.best_step, trainer.counters.without_gain) == (9, 3, 2)
    assert list(points(tmp_path)["valid/loss"]) == [3, 6, 9]


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"eval_every_steps": 5}, [5, 10, 14]),
        ({"eval_every_steps": 7}, [7, 14]),
        ({"eval_every_steps": None}, [12, 14]),
        ({"eval_every_steps": 50}, [14]),
    ],
)
def test_it_is_scored_when_due_and_at_the_end(lab, tmp_path, points, changes, steps):
    reports = []
    trainer = lab.trainer(tmp_path, lab.config(max_steps=14, num_samples=0, **changes))
    trainer._report = lambda facts: reports.append(facts["steps"])
    trainer.fit()
    found = points(tmp_path)
    assert list(found["valid/perplexity"]) == steps == reports
    assert list(found["test/perplexity"]) == [14]


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_nothing_is_kept_of_past_steps(lab, tmp_path, monkeypatch):
    """A state that is not cut from its graph would keep every window since the start of the pass."""
    trainer = lab.trainer(tmp_path, lab.config(max_steps=14, num_samples=0, accumulate=2, dropout=0.2))
    forward, made, alive, graphs = trainer.task.forward, [], [], []

    def watched(model, window, state):
        alive.append(sum(outputs() is not None for outputs in made))
        graphs.extend(part for part in state or () if part.requires_grad)
        outputs, state = forward(model, window, state)
        made.append(weakref.ref(outputs))
        return outputs, state

    monkeypatch.setattr(trainer.task, "forward", watched)
    trainer.fit()
    assert len(made) > 28
    assert max(alive) <= 1, "the window before, until its name is given away"
    assert graphs == []


# --- averages --------------------------------------------------------------------------------------------------------


def fit_and_watch(lab, folder, config):
    """Train; return the trainer and the weights after each step."""
    trainer = lab.trainer(folder, config)
    watched, step = [], trainer._step

    def keep(group):
        values = step(group)
        watched.append(flat(dict(trainer.model.named_parameters())).detach().clone())
        return values

    trainer._step = keep
    trainer.scoring.test = lambda: None
    trainer.fit()
    return trainer, watched


@pytest.mark.parametrize(("start", "first"), [(0, 0), (1, 12)])
@pytest.mark.parametrize("kind", [Averaging.ema, Averaging.mean])
def test_averages_are_what_they_say_from_the_epoch_they_begin(lab, tmp_path, kind, start, first):
    config = lab.config(
        averaging=kind,
        averaging_decay=0.8,
        averaging_start_epoch=start,
        max_steps=16,
        num_samples=0,
        eval_every_steps=20,
    )
    trainer, weights = fit_and_watch(lab, tmp_path, config)
    averaged = weights[first]
    for number, new in enumerate(weights[first + 1 :], 1):
        averaged = 0.8 * averaged + 0.2 * new if kind is Averaging.ema else averaged + (new - averaged) / (number + 1)
    assert int(trainer.state.averaged.n_averaged) == 16 - first
    found = flat(dict(trainer.state.averaged.module.named_parameters()))
    torch.testing.assert_close(found, averaged, rtol=1e-5, atol=1e-7)  # the same float32 sums in another order
    assert not found.equal(weights[-1])
    # The average is what is scored and what is kept for use; the raw weights go on being trained.
    assert trainer.state.scored_model is trainer.state.averaged.module
    saved = load_model(tmp_path / "checkpoints", "last")
    assert all(tensor.equal(saved[name]) for name, tensor in trainer.state.averaged.module.state_dict().items())
    assert flat(dict(trainer.model.named_parameters())).equal(weights[-1])


@pytest.mark.parametrize("kind", [Averaging.ema, Averaging.mean])
def test_averaging_does_not_change_what_is_trained(lab, tmp_path, kind):
    ends = [
        fit_and_watch(lab, tmp_path / option.value, lab.config(averaging=option, dropout=0.2, num_samples=0))[1][-1]
        for option in (Averaging.none, kind)
    ]
    assert ends[0].equal(ends[1])


def test_a_tied_matrix_is_averaged_once(lab, tmp_path):
    config = lab.config(tie_weights=True, embedding_size=6, averaging=Averaging.ema, max_steps=3, num_samples=0)
    trainer = lab.fit(tmp_path, config)
    assert "module.decoder_weight" not in trainer.state.averaged.state_dict()
    assert trainer.state.averaged.module.decoder_weight is None


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", list(Cell))
def test_bf16_trains_weights_of_float32(lab, tmp_path, task, cell):
    found = {}
    for precision in Precision:
        config = lab.config(task, precision=precision, cell=cell, max_steps=3, num_samples=1, seed=4)
        trainer = lab.fit(tmp_path / precision.value, config)
        assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
        found[precision.value] = trainer.state.metrics
    # Products of 8 bits: the loss, of order 1, is off by some thousandths; it is not the same.
    assert found["bf16"]["valid/loss"] == pytest.approx(found["fp32"]["valid/loss"], abs=0.03)
    assert found["bf16"] != found["fp32"]


def test_a_cosine_without_an_end_is_refused_before_anything_runs(lab, tmp_path):
    config = lab.config(max_steps=None, max_minutes=1.0, scheduler=CosineConfig(name="cosine"))
    with pytest.raises(ValueError, match="scheduler=cosine needs"):
        lab.trainer(tmp_path, config)
    assert list(tmp_path.iterdir()) == []


def test_the_same_seed_gives_the_same_run_and_another_another(lab, tmp_path, differences):
    for name, seed in (("one", 3), ("two", 3), ("three", 4)):
        lab.fit(tmp_path / name, lab.config("music", seed=seed, dropout=0.3, max_steps=5))
    assert differences(tmp_path / "one", tmp_path / "two") == []
    assert "scalars" in differences(tmp_path / "one", tmp_path / "three")
