"""Tiny trainings that are ill on purpose yield their diagnosis and no other, healthy ones none; the advice helps."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.commandline.compose import compose_request, read_arguments
from rnnlab.diagnosis.rules import RULES, diagnose
from rnnlab.diagnosis.signals import read_signals
from rnnlab.json_files import read_json

Made = Callable[..., Path]

_WORDS = [
    "task=next_word",
    "task.min_count=1",
    "model.embedding_size=16",
    "model.hidden_size=24",
    "model.dropout=0",
    "trainer.batch_size=16",
    "trainer.bptt_len=16",
    "trainer.max_epochs=5",
    "optimizer.lr=0.01",
]
_REVIEWS = [
    "task=sentiment",
    "task.min_count=1",
    "model.embedding_size=12",
    "model.hidden_size=12",
    "model.dropout=0",
    "trainer.batch_size=16",
    "trainer.max_epochs=4",
    "optimizer.lr=0.01",
]
_DRAWN = [
    "task.train_sequences=1000",
    "task.score_sequences=100",
    "model.hidden_size=24",
    "trainer.batch_size=25",
    "trainer.max_epochs=8",
    "optimizer.lr=0.01",
]
_FEW = ["task.corpus=few.txt", "model.hidden_size=48", "trainer.batch_size=4", "trainer.bptt_len=8"]
_FALLING = ["scheduler=cosine", "scheduler.warmup_steps=10", "optimizer.lr=0.02"]

HEALTHY = {
    "next_word": [*_WORDS, "task.corpus=words.txt"],
    "momentum": [*_WORDS, "task.corpus=words.txt", "optimizer=momentum", "optimizer.lr=2", "trainer.max_epochs=8"],
    "sentiment": [*_REVIEWS, "task.corpus=reviews.csv"],
    "music": [
        "task=music",
        "task.corpus=tunes.abc",
        "model.embedding_size=12",
        "model.hidden_size=24",
        "model.dropout=0",
        "trainer.batch_size=8",
        "trainer.bptt_len=64",
        "trainer.max_epochs=12",
        *_FALLING,
    ],
    "adding": ["task=adding", *_DRAWN, "model=gru", "task.seq_len=6"],
    "copy": [
        "task=copy",
        *_DRAWN,
        "model=gru",
        "task.delay=1",
        "model.hidden_size=48",
        "model.embedding_size=10",
        "trainer.max_epochs=12",
        "optimizer.lr=0.02",
    ],
    "ball": ["task=ball", *_DRAWN, "task.train_sequences=500", *_FALLING],
}

# illness -> the settings that bring it about
ILL = {
    "lr_too_high": [*HEALTHY["next_word"], "optimizer.lr=3"],
    "lr_too_low": [*HEALTHY["next_word"], "optimizer.lr=1e-6"],
    "exploding": [
        *HEALTHY["next_word"],
        "model=rnn",
        "model.nonlinearity=relu",
        "model.initialisation=orthogonal",
        "optimizer=sgd",
        "optimizer.lr=3",
        "trainer.clip_grad_norm=null",
        "trainer.bptt_len=64",
    ],
    "vanishing": [
        *HEALTHY["adding"],
        "model=rnn",
        "task.seq_len=60",
        "trainer.max_epochs=4",
        "optimizer.lr=0.002",
    ],
    "dead_units": [
        *HEALTHY["next_word"],
        "model=rnn",
        "model.nonlinearity=relu",
        "optimizer=sgd",
        "optimizer.lr=15",
    ],
    "saturated": [*HEALTHY["next_word"], "model.forget_gate_bias=-30"],
    "overfitting": [*_WORDS, *_FEW, "trainer.max_epochs=30"],
    "too_small": [
        *HEALTHY["next_word"],
        "model=gru",
        "model.hidden_size=2",
        "model.embedding_size=2",
        "trainer.max_epochs=16",
        "optimizer.lr=0.1",
    ],
    "padding": [
        *_REVIEWS,
        "task.corpus=lengths.csv",
        "trainer.batch_size=240",
        "trainer.max_epochs=20",
        "optimizer.lr=0.05",
        "trainer.log_every_steps=1",
    ],
    "clipping": [
        *HEALTHY["next_word"],
        "optimizer=sgd",
        "optimizer.lr=50",
        "trainer.clip_grad_norm=0.02",
    ],
    "baseline_not_beaten": [*_REVIEWS, "task.corpus=noise.csv", "trainer.max_epochs=3"],
    "one_class": [
        *HEALTHY["sentiment"],
        "model.pooling=last",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "trainer.max_epochs=2",
    ],
    "plateau": [*HEALTHY["next_word"], "optimizer.lr=0.2", "trainer.max_epochs=12"],
    "lr_spent": [
        *HEALTHY["next_word"],
        "scheduler=step",
        "scheduler.start_epoch=1",
        "scheduler.gamma=0.01",
        "trainer.max_epochs=6",
    ],
    "too_short": [*HEALTHY["next_word"], "optimizer.lr=0.003"],
}


def _reviews(draw: random.Random, count: int, lengths: tuple[int, int], *, is_told: bool) -> str:
    """Texts of a few words, the label told by one of them or by none."""
    marks = {"pos": "good great fine lovely".split(), "neg": "bad awful poor dull".split()}
    rows = []
    for number in range(count):
        label = ("pos", "neg")[number % 2]
        text = draw.choices("the cat sat on a mat and saw one red bird".split(), k=draw.randint(*lengths))
        if is_told:
            text.insert(draw.randrange(len(text)), draw.choice(marks[label]))
        rows.append(f"{' '.join(text)} {number},{label}\n")
    return "text,label\n" + "".join(rows)


def _chain(draw: random.Random, lines: int) -> str:
    """Text in which two words may follow each: log 2 nats a word, where their frequencies alone give log 20."""
    text = []
    for _ in range(lines):
        word, line = draw.randrange(20), []
        for _ in range(draw.randint(4, 9)):
            line.append(f"w{word}")
            word = (3 * word + draw.choice((1, 2))) % 20
        text.append(" ".join(line))
    return "\n".join(text) + "\n"


def _tunes(draw: random.Random, count: int) -> str:
    """Tunes whose bars take turns between low and high notes."""
    tunes = []
    for number in range(count):
        pitches = (["A2", "B2", "c2", "d2"], ["e2", "f2", "g2", "a2"])
        bars = [" ".join(draw.choices(pitches[bar % 2], k=4)) for bar in range(draw.randint(2, 6))]
        tunes.append(f"X:{number}\nT:Tune {number}\nM:4/4\nL:1/8\nK:D\n{' | '.join(bars)} |]\n")
    return "\n".join(tunes)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """Train once: `made("plateau")`, `made("plateau", "scheduler=plateau")` with other settings; gives the folder."""
    folder = tmp_path_factory.mktemp("diagnosis")
    draw = random.Random(0)
    few = [" ".join(draw.choices([f"v{number}" for number in range(12)], k=6)) for _ in range(60)]
    contents = {
        "words.txt": _chain(draw, 1200),
        "few.txt": "\n".join(few) + "\n",
        "reviews.csv": _reviews(draw, 400, (2, 12), is_told=True),
        "noise.csv": _reviews(draw, 600, (2, 12), is_told=False),
        "lengths.csv": _reviews(draw, 300, (1, 80), is_told=True),
        "tunes.abc": _tunes(draw, 120),
    }
    for name, text in contents.items():
        (folder / name).write_text(text)
    known: dict[tuple[str, ...], Path] = {}

    def train(name: str, *others: str) -> Path:
        key = (name, *others)
        if key not in known:
            asked = ["trainer.threads=1", "trainer.num_samples=0", "trainer.log_every_steps=5"]
            asked += [*{**HEALTHY, **ILL}[name], *others]
            words = {word.partition("=")[0]: word for word in asked}  # the last one counts
            words["task.corpus"] = words.get("task.corpus", "").replace("task.corpus=", f"task.corpus={folder}/")
            run = folder / "outputs" / f"{name}-{len(known)}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("RNNLAB_OUTPUTS", str(folder / "outputs"))
                main(["train", *filter(None, words.values()), f"name={run.name}"])
            known[key] = run
        return known[key]

    return train


# No fixtures: `skipped_steps` is an exploding run with clipping, which takes luck to make; `slow` takes a minute.
FIXTURES = sorted({rule.name for rule in RULES} - {"skipped_steps", "slow"})


def compose(folder, overrides):
    """The settings of a run with others in their place, as `rnnlab train` would take them."""
    typed = [text for text in read_json(folder / "run.json")["overrides"] if not text.startswith("name=")]
    return compose_request(read_arguments("train", [*typed, *overrides])).config


def test_every_rule_but_two_has_an_ill_run():
    assert sorted(ILL) == FIXTURES


@pytest.mark.parametrize("illness", FIXTURES)
def test_an_ill_run_yields_its_diagnosis_and_what_it_advises_can_be_typed(illness, made):
    folder = made(illness)
    found = diagnose(read_signals(folder))
    assert [one.rule.name for one in found] == [illness]
    overrides = found[0].finding.overrides
    assert overrides
    before = read_json(folder / "run.json")["config"]
    assert compose(folder, overrides) != before


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_yields_none(name, made):
    folder = made(name)
    signals = read_signals(folder)
    assert diagnose(signals) == []
    assert signals.has_learned is True  # else nothing was asked of most rules
    assert signals.update_ratio is not None
    assert signals.units


def advice(folder):
    (one,) = diagnose(read_signals(folder))
    return one.finding.overrides


@pytest.mark.parametrize(
    ("illness", "share"),
    [("exploding", 0.9), ("lr_too_high", 0.8), ("dead_units", 0.6), ("too_small", 0.8), ("plateau", 0.999)],
)
def test_taking_the_advice_lowers_the_best_validation_loss(illness, share, made):
    ill = made(illness)
    cured = made(illness, *advice(ill))
    before, after = read_signals(ill).best_loss, read_signals(cured).best_loss
    assert before is not None
    assert after is not None
    assert after < share * before


# Not of two: labels that say nothing have no cure, and a classifier of 40 small steps needs more than one.
CURABLE = sorted({*FIXTURES} - {"baseline_not_beaten", "one_class"})


@pytest.mark.parametrize("illness", CURABLE)
def test_the_illness_is_gone_once_the_advice_is_taken(illness, made):
    ill = made(illness)
    cured = made(illness, *advice(ill))
    assert illness not in [one.rule.name for one in diagnose(read_signals(cured))]


def test_dropout_and_patience_end_a_run_before_it_knows_its_text_by_heart(made):
    ill = made("overfitting")
    cured = made("overfitting", *advice(ill))
    before, after = (read_signals(folder).values("valid/loss") for folder in (ill, cured))
    assert before[-1] > 1.1 * min(before)
    assert after[-1] < 1.1 * min(after)
    assert len(after) < len(before)


def test_smaller_batches_have_less_padding(made):
    ill = made("padding")
    before, after = (read_signals(folder).padding or 1.0 for folder in (ill, made("padding", *advice(ill))))
    assert after < 0.5 * before
