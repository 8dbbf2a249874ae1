"""What is trained: every task, on made-up corpora, three cells, and settings that each keep state of their own."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

TASKS = ("next_word", "sentiment", "music")
DRAWN = ("adding", "copy", "ball")  # sequences are drawn from the seed
CELLS = ("rnn", "lstm", "gru")

# Settings beside the plain ones, whose state a resumed run needs; those of one task alone say which.
VARIANTS: dict[str, list[str]] = {
    "plain": [],
    "average": ["trainer.averaging=ema", "trainer.averaging_decay=0.8"],
    "late mean": ["trainer.averaging=mean", "trainer.averaging_start_epoch=1"],
    "accumulate": ["trainer.accumulate=3"],
    "early stopping": ["trainer.patience=7", "trainer.eval_every_steps=2", "optimizer.lr=1e-12"],
    "plateau": ["scheduler=plateau", "optimizer=sgd", "optimizer.lr=2", "trainer.eval_every_steps=3"],
    "cosine": ["scheduler=cosine", "scheduler.warmup_steps=5"],
    "momentum": ["optimizer=sgd", "optimizer.momentum=0.9", "optimizer.lr=0.5"],
    "dropouts": ["model.dropout=0.4", "model.weight_drop=0.2", "model.zoneout=0.1"],
    "histograms": ["trainer.histograms=true"],
    "pictures": ["trainer.histograms=true", "trainer.figures=true", "trainer.eval_every_steps=30"],
    # The last step is saved and then evaluated.
    "evaluated late": ["trainer.eval_every_steps=7", "trainer.checkpoint_every_steps=3", "trainer.histograms=true"],
    "bf16": ["trainer.precision=bf16"],
}
OF_TASK: dict[str, dict[str, list[str]]] = {
    "next_word": {
        "adaptive": ["model.decoder=adaptive", "model.cutoffs=[4,9]", "model.hidden_size=16"],
        "random windows": ["trainer.random_bptt=true", "trainer.bptt_len=18"],
        "sampled words": ["model.sampled_words=8"],
    },
    "sentiment": {"both ways": ["model.bidirectional=true", "model.pooling=attention"]},
    "music": {"short windows": ["trainer.bptt_len=24"]},
}
_BATCHES = {"next_word": 16, "sentiment": 24, "music": 8}
_OF_DRAWN = {
    "adding": {"task.seq_len": "8"},
    "copy": {"task.delay": "3", "trainer.bptt_len": "9"},
    "ball": {"task.seq_len": "12", "trainer.bptt_len": "5"},
}


@dataclass(frozen=True)
class Job:
    """One command line, and a name for its run.

    Attributes:
        task: of `TASKS` or `DRAWN`.
        cell: rnn, lstm, gru.
        variant: of `VARIANTS` or `OF_TASK`.
        steps: optimizer updates.
        extra: further settings, which win.
        devices: processes that train it together.
    """

    task: str
    cell: str
    variant: str = "plain"
    steps: int = 24
    extra: tuple[str, ...] = field(default=())
    devices: int = 1

    def __str__(self) -> str:
        """Render for a report."""
        return f"{self.task} {self.cell} ({self.variant}{f', {self.devices} processes' * (self.devices > 1)})"

    def settings(self, corpora: Path) -> list[str]:
        """Everything of the command line but the run's name."""
        given = {
            "task": self.task,
            "model": self.cell,
            "model.hidden_size": "6",
            "model.embedding_size": "5",
            "model.dropout": "0.3",
            "model.num_layers": "2",
            "optimizer.lr": "0.01",
            "trainer.batch_size": str(_BATCHES.get(self.task, 12)),
            "trainer.max_epochs": "null",
            "trainer.max_steps": str(self.steps),
            "trainer.log_every_steps": "2",
            "trainer.eval_every_steps": "6",
            "trainer.checkpoint_every_steps": "4",
            "trainer.num_samples": "1",
            "trainer.sample_len": "6",
            "trainer.histograms": "false",
            "trainer.figures": "false",
            "trainer.threads": "1",
            "seed": "3",
        }
        if self.task in DRAWN:
            given |= {"task.train_sequences": "60", "task.score_sequences": "24", **_OF_DRAWN[self.task]}
        else:
            given["task.corpus"] = str(corpora / FILES[self.task])
        if self.task == "next_word":
            given["trainer.bptt_len"] = "9"
        if self.devices > 1:
            given["trainer.devices"] = str(self.devices)
        own = VARIANTS[self.variant] if self.variant in VARIANTS else OF_TASK[self.task][self.variant]
        for text in (*own, *self.extra):
            key, _, value = text.partition("=")
            given[key] = value
        return [f"{key}={value}" for key, value in given.items()]


FILES = {"next_word": "words.txt", "sentiment": "reviews.csv", "music": "tunes.abc"}


def write_corpora(folder: Path) -> None:
    """Make a small corpus for each task."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(11)
    nouns, verbs = "dog fox hen cow pig owl".split(), "sees hears likes fears".split()
    sentences = [f"the {draw.choice(nouns)} {draw.choice(verbs)} a {draw.choice(nouns)}" for _ in range(400)]
    (folder / FILES["next_word"]).write_text("\n".join(sentences) + "\n")
    rows = ["text,label"]
    for number in range(200):
        label, mood = [("neg", "sad grim"), ("pos", "glad warm")][number % 2]
        words = [*draw.choices(nouns, k=draw.randint(1, 9)), draw.choice(mood.split()), str(number)]
        rows.append(f"{' '.join(words)},{label}")
    (folder / FILES["sentiment"]).write_text("\n".join(rows) + "\n")
    with (folder / FILES["music"]).open("w") as file:
        for number in range(50):
            bars = ["".join(draw.choices("GABde", k=6)) for _ in range(draw.randint(2, 5))]
            file.write(f"X:{number}\nT:Reel {number}\nM:6/8\nL:1/8\nK:G\n{'|'.join(bars)}|]\n\n")


def jobs(steps: int, devices: int = 1) -> Iterator[Job]:
    """Yield jobs for ever: each cell with every task on a text and one on drawn sequences, then other variants."""
    for turn in count():
        for place in range(len(CELLS)):
            for task, cell in pairs((*TASKS, DRAWN[(turn + place) % len(DRAWN)]), place):
                own = OF_TASK.get(task, {})
                variants = ["plain", *own, *(name for name in VARIANTS if name != "plain")]
                # Cells are shifted against each other: twelve jobs show three variants of each task.
                number = turn + 5 * CELLS.index(cell)
                yield Job(task, cell, variants[number % len(variants)], steps, devices=devices)


def pairs(tasks: tuple[str, ...], shift: int) -> list[tuple[str, str]]:
    """Give each task a cell, neighbours other ones; as many shifts as there are cells give each task every cell."""
    return [(task, CELLS[(number + shift) % len(CELLS)]) for number, task in enumerate(tasks)]
