import copy
import json
import math
import weakref
from dataclasses import replace

import pytest
import torch
from tensorboard.compat.proto.tensor_pb2 import TensorProto

from rnnlab.config import (
    AdamConfig,
    Averaging,
    Cell,
    CosineConfig,
    NextWordConfig,
    PlateauConfig,
    Precision,
    RMSpropConfig,
    SGDConfig,
    StepConfig,
)
from rnnlab.errors import CannotWriteError
from rnnlab.models import detach, reset
from rnnlab.tasks.base import score
from rnnlab.training import trainer as trainer_module
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
def points(scalars):
    """The numbers of a run by tag: {step: value}."""

    def read(folder):
        found = {}
        for tag, step, content in scalars(folder):
            tensor = TensorProto.FromString(content)
            if tensor.float_val:
                found.setdefault(tag, {})[step] = tensor.float_val[0]
        return found

    return read


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
    assert trainer.metrics["valid/loss"] < 0.3
    assert trainer.metrics["test/perplexity"] == pytest.approx(math.exp(trainer.metrics["test/loss"]))


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
    assert trainer.metrics["valid/loss"] < losses[1] - 0.1


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_to_its_test_score(lab, tmp_path, task):
    trainer = lab.fit(tmp_path, lab.config(task, max_steps=3))
    metric = trainer.task.metric
    assert {f"valid/{metric}", f"test/{metric}", "valid/loss", "test/loss"} <= set(trainer.metrics)
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
    step = trainer.optimizer.step
    trainer.optimizer.step = lambda: made.append(1) or step()
    trainer.fit()
    windows = len(trainer.task.train_windows(0))
    assert len(made) == trainer.counters.step == trainer.total_steps == 2 * math.ceil(windows / accumulate)
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


# --- what is no number ------------------------------------------------------------------------------------------------


def test_a_score_that_is_no_number_is_never_the_best(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(eval_every_steps=2, max_steps=8))
    found = iter([math.nan, 5.0, math.inf, 4.0])
    evaluate = trainer.score

    class Fixed:
        def results(self):
            value = next(found)
            return {"loss": value, "perplexity": value}

    monkeypatch.setattr(trainer, "score", lambda split: Fixed() if split == "valid" else evaluate(split))
    best = []
    monkeypatch.setattr(
        trainer, "_report", lambda facts: best.append((facts["best_step"], trainer.counters.without_gain))
    )
    trainer.fit()
    assert best == [(-1, 1), (4, 0), (4, 1), (8, 0)]


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
    assert trainer.total_steps == 12
    trainer.fit()
    assert trainer.counters.step == 12


def test_minutes_count_training_alone_and_end_it_after_a_step(lab, tmp_path):
    trainer = lab.fit(tmp_path, lab.config(max_steps=None, max_minutes=1e-9, num_samples=0))
    assert trainer.counters.step == 1
    assert trainer.total_steps is None
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


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_training_loss_shown_is_the_mean_since_the_point_before(lab, tmp_path, points):
    every = lab.fit(tmp_path / "every", lab.config(log_every_steps=1, num_samples=0))
    lab.fit(tmp_path / "third", lab.config(log_every_steps=3, num_samples=0))
    losses = points(tmp_path / "every")["train/loss"]
    windows = every.task.train_windows(0)
    counts = [windows[index].num_targets for index in range(len(windows))]
    shown = points(tmp_path / "third")["train/loss"]
    assert list(shown) == [3, 6, 9, 12]
    for step, value in shown.items():
        group = range(step - 3, step)
        mean = sum(losses[i + 1] * counts[i] for i in group) / sum(counts[i] for i in group)
        assert value == pytest.approx(mean, rel=1e-6)
    perplexity = points(tmp_path / "third")["train/perplexity"]
    assert perplexity == pytest.approx({step: math.exp(value) for step, value in shown.items()}, rel=1e-5)


def test_a_classifiers_training_accuracy_is_shown(lab, tmp_path, points):
    lab.fit(tmp_path, lab.config("sentiment", max_steps=10, log_every_steps=10, num_samples=0))
    accuracy = points(tmp_path)["train/accuracy"][10]
    assert 0 < accuracy <= 1
    assert (accuracy * 198) % 1 == pytest.approx(0, abs=1e-4) or (accuracy * 198) % 1 == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "scheduler",
    [
        CosineConfig(name="cosine", warmup_steps=4),
        StepConfig(name="step", start_epoch=1, gamma=0.1),
        PlateauConfig(name="plateau", gamma=0.5),
    ],
    ids=lambda scheduler: scheduler.name,
)
def test_the_rate_of_every_step_is_the_schedules(lab, tmp_path, points, scheduler):
    config = lab.config(
        optimizer=sgd(0.5), scheduler=scheduler, log_every_steps=1, max_steps=16, eval_every_steps=4, num_samples=0
    )
    trainer = lab.fit(tmp_path, config)
    rates = points(tmp_path)["optim/lr"]
    if scheduler.name == "plateau":
        assert trainer.schedule.lr == pytest.approx(
            0.5 ** (1 + trainer.schedule._plateau.last_epoch - improvements(points(tmp_path)))
        )
        assert set(rates.values()) <= {0.5, 0.25, 0.125, 0.0625}
    else:
        assert rates == pytest.approx({n + 1: 0.5 * trainer.schedule.factor(n, n // 12) for n in range(16)})


def improvements(found):
    best, count = math.inf, 0
    for value in found["valid/perplexity"].values():
        if value < best:
            best, count = value, count + 1
    return count


def test_samples_settings_and_histograms_are_logged(lab, tmp_path, scalars):
    lab.fit(tmp_path, lab.config("music", max_steps=4, eval_every_steps=4, num_samples=2, histograms=True))
    tags = {tag for tag, step, _ in scalars(tmp_path) if step == 4}
    assert {"samples/0/text_summary", "samples/1/text_summary"} <= tags
    assert {"weights/embedding.weight", "gradients/recurrent.weight_hh_l0", "gates/layer_0/forget"} <= tags
    assert {"saturation/layer_0/forget_left", "speed/tokens_per_second"} - tags == {"speed/tokens_per_second"}


def test_no_samples_are_drawn_when_none_are_wanted(lab, tmp_path, scalars):
    lab.fit(tmp_path, lab.config(max_steps=2, num_samples=0))
    assert not [tag for tag, _, _ in scalars(tmp_path) if tag.startswith("samples/")]


# --- what evaluation may not do --------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_scoring_saving_and_logging_change_nothing_that_is_trained(lab, tmp_path, task):
    often = {
        "eval_every_steps": 1,
        "checkpoint_every_steps": 1,
        "log_every_steps": 1,
        "num_samples": 2,
        "histograms": True,
    }
    seldom = {"eval_every_steps": 1000, "log_every_steps": 1000, "num_samples": 0}
    ends = []
    for number, changes in enumerate((often, seldom)):
        trainer = lab.trainer(tmp_path / str(number), lab.config(task, dropout=0.4, max_steps=6, **changes))
        trainer._finish = lambda: None  # which takes up the best weights
        trainer.fit()
        ends.append((flat(weights_of(trainer.model)), torch.get_rng_state()))
    assert ends[0][0].equal(ends[1][0])
    assert ends[0][1].equal(ends[1][1])


def test_the_batch_size_of_scoring_changes_no_score(lab, tmp_path):
    found = [
        lab.fit(tmp_path / str(size), lab.config("music", max_steps=3, eval_batch_size=size, num_samples=0)).metrics
        for size in (1, 3, 64)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)  # sums of losses in float32
    assert found[0] == pytest.approx(found[2], rel=1e-6)


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
    trainer._finish = lambda: None
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
    assert int(trainer.averaged.n_averaged) == 16 - first
    found = flat(dict(trainer.averaged.module.named_parameters()))
    torch.testing.assert_close(found, averaged, rtol=1e-5, atol=1e-7)  # the same float32 sums in another order
    assert not found.equal(weights[-1])
    # The average is what is scored and what is kept for use; the raw weights go on being trained.
    assert trainer.scored_model is trainer.averaged.module
    saved = load_model(tmp_path / "checkpoints", "last")
    assert all(tensor.equal(saved[name]) for name, tensor in trainer.averaged.module.state_dict().items())
    assert flat(dict(trainer.model.named_parameters())).equal(weights[-1])


@pytest.mark.parametrize("kind", [Averaging.ema, Averaging.mean])
def test_averaging_does_not_change_what_is_trained(lab, tmp_path, kind):
    ends = [
        fit_and_watch(lab, tmp_path / option.value, lab.config(averaging=option, dropout=0.2, num_samples=0))[1][-1]
        for option in (Averaging.none, kind)
    ]
    assert ends[0].equal(ends[1])


def test_before_the_average_begins_the_raw_weights_are_scored(lab, tmp_path, points):
    found = []
    for number, option in enumerate((Averaging.none, Averaging.mean)):
        config = lab.config(averaging=option, averaging_start_epoch=1, eval_every_steps=4, max_steps=16, num_samples=0)
        trainer = lab.fit(tmp_path / str(number), config)
        found.append(points(tmp_path / str(number))["valid/loss"])
    assert [found[0][step] == found[1][step] for step in (4, 8, 12, 16)] == [True, True, True, False]
    assert trainer.counters.best_step in (4, 8, 12, 16)


def test_a_tied_matrix_is_averaged_once(lab, tmp_path):
    config = lab.config(tie_weights=True, embedding_size=6, averaging=Averaging.ema, max_steps=3, num_samples=0)
    trainer = lab.fit(tmp_path, config)
    assert "module.decoder_weight" not in trainer.averaged.state_dict()
    assert trainer.averaged.module.decoder_weight is None


# --- precision, checkpoints ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cell", list(Cell))
def test_bf16_trains_weights_of_float32(lab, tmp_path, task, cell):
    found = {}
    for precision in Precision:
        config = lab.config(task, precision=precision, cell=cell, max_steps=3, num_samples=1, seed=4)
        trainer = lab.fit(tmp_path / precision.value, config)
        assert {parameter.dtype for parameter in trainer.model.parameters()} == {torch.float32}
        found[precision.value] = trainer.metrics
    # Products of 8 bits: the loss, of order 1, is off by some thousandths; it is not the same.
    assert found["bf16"]["valid/loss"] == pytest.approx(found["fp32"]["valid/loss"], abs=0.03)
    assert found["bf16"] != found["fp32"]


def test_the_test_score_is_that_of_the_best_weights(lab, tmp_path):
    config = lab.config(optimizer=sgd(20.0), clip_grad_norm=None, eval_every_steps=1, max_steps=12, num_samples=0)
    trainer = lab.fit(tmp_path, config)
    assert 1 < trainer.counters.best_step < 12, "a rate this high makes the scores go up and down"
    checkpoints = tmp_path / "checkpoints"
    assert (checkpoints / "best").resolve().name == f"step-{trainer.counters.best_step:08d}"
    assert (checkpoints / "last").resolve().name == "step-00000012"
    found = {}
    for which in ("best", "last"):
        trainer.model.load_state_dict(load_model(checkpoints, which))
        for split in ("valid", "test"):
            scores = score(trainer.task, trainer.model, split, batch_size=64, device=CPU)
            found[which, split] = scores.results()["loss"]
    assert trainer.metrics["test/loss"] == found["best", "test"]
    assert trainer.metrics["valid/loss"] == found["best", "valid"] < found["last", "valid"]
    assert found["best", "valid"] == pytest.approx(math.log(trainer.counters.best_score))
    assert trainer.details == {"targets": trainer.task.corpus["test_tokens"]}


def test_checkpoints_are_made_when_asked_for_and_at_each_evaluation(lab, tmp_path, monkeypatch):
    made = []
    save = trainer_module.save_checkpoint
    monkeypatch.setattr(
        trainer_module, "save_checkpoint", lambda *a, **k: made.append((a[1], k["best"])) or save(*a, **k)
    )
    lab.fit(tmp_path, lab.config(checkpoint_every_steps=5, eval_every_steps=4, max_steps=11, num_samples=0))
    assert [step for step, _ in made] == [4, 5, 8, 10, 11]
    assert [best for _, best in made] == [True, False, True, False, True], "scores still improve"


def test_a_full_disk_ends_the_run_and_keeps_the_checkpoint_before(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(checkpoint_every_steps=3, num_samples=0))
    save = trainer_module.save_checkpoint

    def fails_later(folder, step, *arguments, **keywords):
        if step > 3:
            raise CannotWriteError("cannot write checkpoint")
        return save(folder, step, *arguments, **keywords)

    monkeypatch.setattr(trainer_module, "save_checkpoint", fails_later)
    with pytest.raises(CannotWriteError):
        trainer.fit()
    monkeypatch.undo()
    resumed = lab.resume(tmp_path, lab.config(checkpoint_every_steps=3, num_samples=0))
    assert resumed.counters.step == 12


def test_an_error_in_an_evaluation_reaches_the_caller_and_closes_the_log(lab, tmp_path, monkeypatch):
    trainer = lab.trainer(tmp_path, lab.config(num_samples=0))
    monkeypatch.setattr(trainer, "score", lambda split: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert trainer._events._file.closed


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


def test_looking_inside_changes_no_weight_and_says_what_it_costs(lab, tmp_path, scalars):
    plain = lab.fit(tmp_path / "plain", lab.config(max_steps=6))
    looked = lab.fit(tmp_path / "looked", lab.config(max_steps=6, xray_every=3))
    for name, tensor in plain.model.state_dict().items():
        assert looked.model.state_dict()[name].equal(tensor)
    found = {tag: step for tag, step, _ in scalars(tmp_path / "looked") if tag.startswith("xray/")}
    assert found["xray/layer_0/lag_slope"] == found["xray/layer_0/memory_steps"] == 6
    assert not [tag for tag, _, _ in scalars(tmp_path / "plain") if tag.startswith("xray/")]
    assert 0 < looked.facts()["xray_share"] < 1
    assert "xray_share" not in plain.facts()


class Opaque(torch.nn.Module):
    """A model whose layers stand under other names, as that of another package's task may."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *arguments, **named):
        return self.inner(*arguments, **named)


def test_a_model_that_cannot_be_looked_into_trains_without_and_the_log_says_so(lab, tmp_path, caplog):
    config = lab.config(xray_every=1, max_steps=2, num_samples=0)
    task = lab.task(config)
    model = Opaque(task.build_model(config.model))
    trainer = trainer_module.Trainer(task, model, config, tmp_path, CPU, report=lambda facts: None)
    trainer.fit()
    assert trainer.counters.step == 2
    assert "xray_share" not in trainer.facts()
    assert "trainer.xray_every: task=next_word has no recurrent layers of rnnlab.cells to look into" in caplog.text
