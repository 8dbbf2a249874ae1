"""The data and first weights that all contenders of a case get, as files: each is a process of its own.

Shapes: n tokens, N sequences, B rows of a batch, T steps of a window.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from rnnlab.benchmarks.steps.cases import TrainCase
from rnnlab.config import (
    AdamConfig,
    Cell,
    ModelConfig,
    MusicConfig,
    NextWordConfig,
    Pooling,
    Precision,
    SchedulerConfig,
    SentimentConfig,
    SGDConfig,
    TaskConfig,
    TrainConfig,
    TrainerConfig,
)
from rnnlab.data import SequenceBatches, Vocabulary
from rnnlab.errors import DataError
from rnnlab.tasks import Task, build_task

SEED = 1
NUM_WINDOWS = 100  # of a text in columns; then it begins anew
NUM_BATCHES = {"sentiment": 64, "music": 32}  # as many windows of tunes, or more
_ZIPF_OFFSET = 2.7
# Words of film reviews and characters of tunes: median and spread of the logarithm.
_LENGTHS = {"sentiment": (195, 0.65), "music": (250, 0.35)}


class Feed(NamedTuple):
    """Sequences of token ids.

    Attributes:
        tokens: all of them in a row, <int32>(n,).
        offsets: where each sequence begins and the last ends, <int64>(N + 1,); one sequence for a text in columns.
        classes: of each sequence, <int64>(N,); empty where the next token is predicted.
        rows: sequences of each batch, in the order of batches, <int64>(N,); empty for a text in columns.
        sizes: vocab_size and num_classes, <int64>(2,).
    """

    tokens: np.ndarray
    offsets: np.ndarray
    classes: np.ndarray
    rows: np.ndarray
    sizes: np.ndarray

    @property
    def sequences(self) -> list[np.ndarray]:
        """Each sequence, views of `tokens`."""
        return [self.tokens[begin:end] for begin, end in zip(self.offsets[:-1], self.offsets[1:], strict=True)]


def make_feed(case: TrainCase, source: str) -> Feed:
    """Draw or read what a case is trained on; the same for the same arguments.

    Args:
        case: the case.
        source: 'synthetic' (ids of Zipf's frequencies, lengths like the corpus's) or 'corpus'.

    Raises:
        DataError: the corpus is not there, or is too small for two windows.
    """
    random = np.random.default_rng(SEED)
    classes = np.empty(0, np.int64)
    num_classes = 2 if case.task == "sentiment" else 0
    vocab_size = case.vocab_size
    if source == "corpus":
        task = build_task(_task_config(case), settings(case).trainer, SEED)
        task.read_corpus()
        vocab_size = len(task.vocabulary)
        ids = task._ids["train"]  # pyright: ignore[reportAttributeAccessIssue]
        if case.task == "next_word":
            sequences = [np.asarray(ids)]
        else:
            chosen = random.permutation(len(ids))[: case.batch_size * NUM_BATCHES[case.task]].tolist()
            sequences = [np.asarray(ids[index]) for index in chosen]
            if case.task == "sentiment":
                num_classes = len(task.label_names)  # pyright: ignore[reportAttributeAccessIssue]
                classes = np.array([task._classes["train"][index] for index in chosen])  # pyright: ignore[reportAttributeAccessIssue]
    else:
        sequences = _draw(case, random)
        if case.task == "sentiment":
            classes = random.integers(0, 2, len(sequences))
    rows = np.empty(0, np.int64)
    if case.task == "next_word":
        sequences = [_cut_to_columns(case, sequences[0])]
    else:
        batches = SequenceBatches(
            sequences, classes if case.task == "sentiment" else None, case.batch_size, shuffle=True, seed=SEED
        )
        rows = np.concatenate([batches.indices(index).numpy() for index in range(len(batches))])
    offsets = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])])
    return Feed(np.concatenate(sequences), offsets, classes, rows, np.array([vocab_size, num_classes]))


def write_feed(folder: Path, case: TrainCase, feed: Feed) -> None:
    """Write data and first weights into a folder."""
    np.savez(folder / "feed.npz", **feed._asdict())
    torch.manual_seed(SEED)
    model = given_task(case, feed).build_model(settings(case).model)
    save_file(model.state_dict(), folder / "weights.safetensors")


def read_feed(folder: Path) -> Feed:
    """Read what `write_feed` wrote."""
    with np.load(folder / "feed.npz") as arrays:
        return Feed(**{name: arrays[name] for name in Feed._fields})


def given_task(case: TrainCase, feed: Feed) -> Task:
    """Return rnnlab's own task with this data in place of a corpus it would read."""
    task = build_task(_task_config(case), settings(case).trainer, SEED)
    vocab_size, num_classes = feed.sizes.tolist()
    task._vocabulary = Vocabulary(f"token{number}" for number in range(vocab_size))
    if case.task == "next_word":
        task._ids = {"train": feed.tokens}  # pyright: ignore[reportAttributeAccessIssue]
    else:
        task._ids = {"train": feed.sequences}  # pyright: ignore[reportAttributeAccessIssue]
    if case.task == "sentiment":
        task._classes = {"train": feed.classes.tolist()}  # pyright: ignore[reportAttributeAccessIssue]
        task.label_names = [str(number) for number in range(num_classes)]  # pyright: ignore[reportAttributeAccessIssue]
    return task


def settings(case: TrainCase, *, dropout: float = 0.0, precision: str = "fp32") -> TrainConfig:
    """Return a case as rnnlab's settings."""
    optimizer = SGDConfig(name="sgd", lr=case.lr) if case.optimizer == "sgd" else AdamConfig(name="adam", lr=case.lr)
    return TrainConfig(
        task=_task_config(case),
        model=ModelConfig(
            cell=Cell(case.cell),
            embedding_size=case.embedding_size,
            hidden_size=case.hidden_size,
            num_layers=case.num_layers,
            tie_weights=case.tie_weights,
            dropout=dropout,
            pooling=Pooling.last,
        ),
        optimizer=optimizer,
        scheduler=SchedulerConfig(name="constant"),
        trainer=TrainerConfig(
            batch_size=case.batch_size,
            bptt_len=case.bptt_len,
            clip_grad_norm=case.clip_grad_norm,
            precision=Precision(precision),
        ),
        seed=SEED,
    )


def _task_config(case: TrainCase) -> TaskConfig:
    match case.task:
        case "next_word":
            return NextWordConfig(name=case.task, corpus=case.corpus)
        case "sentiment":
            return SentimentConfig(name=case.task, corpus=case.corpus, max_len=case.max_len, max_vocab=case.vocab_size)
        case _:
            return MusicConfig(name=case.task, corpus=case.corpus, max_len=case.max_len)


def _draw(case: TrainCase, random: np.random.Generator) -> list[np.ndarray]:
    """Make up sequences: token number k as often as 1 / (k + 2.7), as words of a language are."""
    if case.task == "next_word":
        assert case.bptt_len is not None, "a text has no end to read to"
        lengths = np.array([case.batch_size * case.bptt_len * NUM_WINDOWS + 1])
    else:
        median, spread = _LENGTHS[case.task]
        drawn = random.lognormal(np.log(median), spread, case.batch_size * NUM_BATCHES[case.task])
        lengths = drawn.astype(np.int64).clip(min(10, case.max_len), case.max_len)
    shares = np.cumsum(1 / (np.arange(case.vocab_size) + _ZIPF_OFFSET))
    tokens = np.searchsorted(shares, random.random(int(lengths.sum())) * shares[-1]).astype(np.int32)
    return np.split(tokens, np.cumsum(lengths)[:-1])


def _cut_to_columns(case: TrainCase, tokens: np.ndarray) -> np.ndarray:
    """Cut a text so that all columns are equally long: other loops drop what does not divide, rnnlab does not."""
    assert case.bptt_len is not None, "a text has no end to read to"
    steps = min(case.bptt_len * NUM_WINDOWS, (len(tokens) - 1) // case.batch_size)
    if steps < 2 * case.bptt_len:
        raise DataError(f"corpus {case.corpus}: {len(tokens)} tokens do not fill two windows; use --data synthetic")
    return tokens[: steps * case.batch_size + 1]
