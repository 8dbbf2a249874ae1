"""Adding, copying, a ball in a box: scores against what is known of them, and that models learn them."""

import json
import logging
import math

import pytest
import torch
from torch import nn

from rnnlab.config import AdamConfig, AddingConfig, BallConfig, Cell, CopyConfig, ModelConfig, TrainerConfig
from rnnlab.errors import CheckpointError
from rnnlab.tasks import build_task
from rnnlab.tasks.ball import roll_out
from rnnlab.tasks.base import score
from rnnlab.training.optimizers import build_optimizer

CPU = torch.device("cpu")
SIZES = {"train_sequences": 64, "score_sequences": 40}
CONFIGS = {
    "adding": AddingConfig(name="adding", seq_len=12, **SIZES),
    "copy": CopyConfig(name="copy", delay=5, **SIZES),
    "ball": BallConfig(name="ball", seq_len=10, **SIZES),
}


def made(name, **trainer):
    task = build_task(CONFIGS[name], TrainerConfig(batch_size=16, **trainer), 0)
    task.read_corpus()
    return task


def model_of(task, cell="lstm"):
    torch.manual_seed(0)
    return task.build_model(ModelConfig(cell=Cell(cell), hidden_size=8, embedding_size=6))


def scored(task, model, split="valid", batch_size=64):
    return score(task, model, split, batch_size=batch_size, device=CPU)


class Says(nn.Module):
    """A model that says what a function makes of its inputs; its state counts the steps."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, inputs, state=None, lengths=None):
        return self.answer(inputs), None


@pytest.mark.parametrize("name", CONFIGS)
def test_a_task_of_this_kind_reads_no_file_and_its_hash_names_its_sequences(name, caplog):
    with caplog.at_level(logging.INFO):
        task = made(name)
    assert "64 sequences a pass, 40 to score; loss without memory" in caplog.text
    json.dumps(task.corpus)
    assert made(name).corpus == task.corpus
    other = build_task(CONFIGS[name], TrainerConfig(batch_size=3), 1)
    other.read_corpus()
    assert other.corpus["sha256"] != task.corpus["sha256"], "another seed draws other sequences"


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("name", CONFIGS)
def test_scores_do_not_depend_on_the_batch_size(name, cell):
    task = made(name)
    model = model_of(task, cell)
    whole = scored(task, model)
    assert scored(task, model, batch_size=7).results() == pytest.approx(whole.results(), rel=1e-5)  # float32 sums
    assert whole.details()["targets"] == task.score_windows("valid", 64).num_targets


def test_always_saying_one_scores_the_baseline_of_adding():
    task = made("adding")
    scores = scored(task, Says(lambda inputs: inputs.new_ones(inputs.shape[1], 1)))
    inputs, targets = (getattr(task.score_windows("valid", 64)[0], part) for part in ("inputs", "targets"))
    assert scores.results()["mse"] == pytest.approx(float((targets - 1).square().mean()), rel=1e-6)
    assert scores.results()["solved_share"] == pytest.approx(float(((targets - 1).abs() < 0.04).float().mean()))
    assert scores.details()["baseline"] == pytest.approx(0.1667, abs=1e-4)
    right = Says(lambda x: (x[..., 0] * x[..., 1]).sum(0, keepdim=True).T)
    assert scored(task, right).results() == pytest.approx({"loss": 0.0, "mse": 0.0, "solved_share": 1.0}, abs=1e-12)
    assert inputs.shape == (12, 40, 2)


def test_knowing_all_but_the_symbols_scores_the_baseline_of_copying():
    def knows_when(inputs):
        logits = torch.full((*inputs.shape, 10), -50.0)
        logits[:-10, :, 8] = 50.0
        logits[-10:, :, :8] = 50.0
        return logits

    scores = scored(made("copy"), Says(knows_when))
    assert scores.results()["loss"] == pytest.approx(10 * math.log(8) / 25, rel=1e-6)
    assert scores.details()["baseline"] == pytest.approx(10 * math.log(8) / 25)
    assert scores.details()["targets"] == 40 * 25

    def remembers(inputs):
        logits = knows_when(inputs)
        logits[-10:] = 50.0 * nn.functional.one_hot(inputs[:10], 10)
        return logits

    assert scored(made("copy"), Says(remembers)).results() == pytest.approx({"loss": 0.0, "accuracy": 1.0}, abs=1e-12)


def test_a_ball_that_stays_scores_a_steps_square_and_a_roll_out_feeds_predictions():
    task = made("ball")
    scores = scored(task, Says(lambda inputs: inputs)).results()
    assert scores["mse"] == pytest.approx(0.1**2 / 2, rel=0.2), "near the baseline: walls shorten some steps"
    targets = task.score_windows("valid", 40)[0].targets
    still = (targets[4:] - task.score_windows("valid", 40)[0].inputs[4]).norm(dim=-1).mean()
    assert scores["rollout_radii"] == pytest.approx(float(still) / 0.1, rel=1e-5)
    rolled = roll_out(Says(lambda inputs: 2 * inputs), torch.ones(3, 1, 2), 4)
    assert rolled[:, 0, 0].tolist() == [2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("name", CONFIGS)
def test_samples_say_what_is_right_and_what_the_model_says(name):
    task = made(name)
    model = model_of(task)
    texts = task.samples(model, 2, 10, seed=1)
    assert len(texts) == 2
    assert texts == task.samples(model, 2, 10, seed=1) != task.samples(model, 2, 10, seed=2)
    words = {"adding": "says", "copy": "5 steps later: ", "ball": "5 steps unseen: at ("}
    assert all(words[name] in text for text in texts)
    assert model.training


@pytest.mark.parametrize("name", CONFIGS)
def test_a_finished_run_is_known_again(name):
    task = made(name)
    restored = build_task(CONFIGS[name], TrainerConfig(), 0)
    restored.restore(json.loads(json.dumps(task.dump())))
    assert restored.has_vocabulary == (name == "copy")
    with pytest.raises(CheckpointError, match=f"is of task 'juggling' and format 1; wanted '{name}' and 1"):
        restored.restore({**task.dump(), "task": "juggling"})


@pytest.mark.parametrize("name", CONFIGS)
def test_a_few_steps_on_new_sequences_bring_the_loss_down_to_guessing_or_below(name):
    """Far from solved, but near or below what a model without memory gives: Adam, some updates."""
    config = {
        "adding": AddingConfig(name="adding", seq_len=4, **SIZES),
        "copy": CopyConfig(name="copy", delay=1, **SIZES),
        "ball": BallConfig(name="ball", seq_len=10, **SIZES),
    }[name]
    task = build_task(config, TrainerConfig(batch_size=32), 0)
    torch.manual_seed(0)
    model = task.build_model(ModelConfig(cell=Cell.gru, hidden_size=48, embedding_size=16))
    optimizer = build_optimizer(model.parameters(), AdamConfig(name="adam", lr=0.01))
    losses = []
    for step in range({"adding": 100, "copy": 120, "ball": 60}[name]):
        windows = task.train_windows(step // 2)
        window = windows[step % 2]
        outputs, _ = task.forward(model, window, None)
        loss = task.nats(model, outputs, window) / window.num_targets
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    allowed = {"adding": 0.5, "copy": 1.02, "ball": 1.5}[name]
    assert sum(losses[-5:]) / 5 < allowed * task.baseline, losses[-5:]
