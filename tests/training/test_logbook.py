"""What a run writes while it trains: means since the point before, rates, samples."""

import math

import pytest

from rnnlab.config import CosineConfig, PlateauConfig, SGDConfig, StepConfig
from rnnlab.errors import DivergedError
from rnnlab.tasks.language import LanguageTask


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
    half = SGDConfig(name="sgd", lr=0.5)
    config = lab.config(
        optimizer=half,
        scheduler=scheduler,
        log_every_steps=1,
        max_steps=16,
        eval_every_steps=4,
        num_samples=0,
    )
    trainer = lab.fit(tmp_path, config)
    rates = points(tmp_path)["optim/lr"]
    if scheduler.name == "plateau":
        assert trainer.state.schedule.lr == pytest.approx(
            0.5 ** (1 + trainer.state.schedule._plateau.last_epoch - improvements(points(tmp_path)))
        )
        assert set(rates.values()) <= {0.5, 0.25, 0.125, 0.0625}
    else:
        assert rates == pytest.approx({n + 1: 0.5 * trainer.state.schedule.factor(n, n // 12) for n in range(16)})


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


def test_a_model_that_is_too_wild_to_draw_from_goes_without_samples(lab, tmp_path, monkeypatch, points):
    def refuse(*_: object) -> list[str]:
        raise DivergedError("the model's logits are nan or infinite")

    monkeypatch.setattr(LanguageTask, "samples", refuse)
    lab.fit(tmp_path, lab.config(num_samples=2, max_steps=4))
    assert 4 in points(tmp_path)["valid/loss"]
    assert not list(tmp_path.glob("samples/*"))
