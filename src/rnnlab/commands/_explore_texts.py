"""The texts that explore reads: of a split of the run's corpus, or the user's own; and what may be asked about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnnlab.commands._own_text import read_own
from rnnlab.config import ExploreConfig
from rnnlab.data.abc import split_tunes
from rnnlab.data.tokens import EOS
from rnnlab.errors import ConfigError
from rnnlab.inspection.properties import Property, review_properties, tune_properties, word_properties
from rnnlab.tasks.base import Task
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.music import Music
from rnnlab.tasks.next_word import NextWord
from rnnlab.tasks.sentiment import Sentiment


@dataclass(frozen=True, slots=True)
class Reading:
    """Texts as a model reads them.

    Attributes:
        ids: of each text, <int64>; a language model's without the token that is only ever predicted.
        labels: class of each text; None where it is not known.
        source: where they come from, in words.
    """

    ids: list[np.ndarray]
    labels: list[int] | None
    source: str

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text."""
        return [len(text) for text in self.ids]

    def cut(self, num_tokens: int) -> Reading:
        """Return the first texts that together have at most so many tokens; at least one, itself cut if need be."""
        fit = max(1, int((np.cumsum(self.lengths) <= num_tokens).sum()))
        ids = [text[:num_tokens] for text in self.ids[:fit]]
        return Reading(ids, None if self.labels is None else self.labels[:fit], self.source)


def own_reading(task: Task, settings: ExploreConfig) -> Reading:
    """Encode the text or file of the user; a file of tunes or reviews holds several texts.

    Raises:
        DataError: it cannot be read, or holds what the run does not know.
    """
    text = settings.text if settings.text is not None else read_own(str(settings.file))
    source = "your text" if settings.text is not None else str(settings.file)
    if isinstance(task, Sentiment):
        lines = [text] if settings.text is not None else [line for line in text.split("\n") if line.strip()]
        return Reading([task.encode_text(line, n).astype(np.int64) for n, line in enumerate(lines, 1)], None, source)
    assert isinstance(task, LanguageTask)
    if isinstance(task, Music):
        tunes = [] if settings.text is not None else split_tunes(text)
        return Reading([_ids(task.encode_prompt(tune)) for tune in tunes or [text]], None, source)
    # Of a text in words, every line begins with the end of the line before; one without a word is a gap.
    lines = [task.encode_prompt(line) for line in text.split("\n")] if isinstance(task, NextWord) else []
    ids = [token for line in lines if len(line) > 1 for token in line] or task.encode_prompt(text)
    return Reading([_ids(ids)], None, source)


def held_out(task: Task, split: str, seed: int) -> Reading:
    """The texts of a split, in random order; a corpus that is one long text is one."""
    windows = task.score_windows(split, 1)
    pieces: list[list[Tensor]] = []
    labels: list[int] = []
    for index in range(len(windows)):
        window = windows[index]
        if bool(window.starts[0]):
            pieces.append([])
        pieces[-1].append(window.inputs[:, 0])
        if window.targets.dim() == 1:
            labels.append(int(window.targets[0]))
    order = np.random.default_rng(seed).permutation(len(pieces)).tolist()
    ids = [torch.cat(pieces[row]).numpy() for row in order]
    return Reading(ids, [labels[row] for row in order] if labels else None, f"{split} split of {task.corpus['name']}")


def properties_of(task: Task, reading: Reading) -> tuple[dict[str, Property], dict[str, Tensor]]:
    """What is asked about a task's texts, and where it holds: <bool>(N,) by name."""
    properties = _properties(task)
    texts = [task.vocabulary.decode(text.tolist()) for text in reading.ids]
    flags = {name: flags_of(one, texts) for name, one in properties.items()}
    if isinstance(task, Sentiment) and reading.labels is not None:
        classes = list(enumerate(task.label_names))
        for number, label in classes[1:] if len(classes) == 2 else classes:  # of two, one says all
            name = f"class_{label}"
            properties[name] = Property(f"the text is {label}", lambda _: [])
            flags[name] = torch.tensor(reading.labels).eq(number).repeat_interleave(torch.tensor(reading.lengths))
    return properties, flags


def flags_of(one: Property, texts: list[list[str]]) -> Tensor:
    """Where a property holds in texts, end to end, <bool>(N,)."""
    return torch.tensor([flag for text in texts for flag in one.holds(text)], dtype=torch.bool)


def _properties(task: Task) -> dict[str, Property]:
    if isinstance(task, Music):
        return tune_properties()
    if isinstance(task, Sentiment):
        return review_properties()
    if isinstance(task, LanguageTask):
        return word_properties(EOS)
    raise ConfigError(f"explore reads runs of language models and classifiers, got one of task={task.name}")


def _ids(tokens: list[int]) -> np.ndarray:
    return np.array(tokens, dtype=np.int64)
