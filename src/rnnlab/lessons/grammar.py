"""A small language of our own, with every choice known: texts can be made without end, and their entropy is exact.

A sentence is "the clouds are in the sky .": a noun, a place that the noun decides, perhaps an adjective, and perhaps
some words between the two that say nothing of either.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
from torch import Tensor

from rnnlab.data import Vocabulary

PLACES = {
    "sky": ("clouds", "stars", "swallows"),
    "sea": ("whales", "crabs", "corals"),
    "forest": ("foxes", "oaks", "mushrooms"),
    "kitchen": ("pans", "cooks", "plates"),
}
ADJECTIVES = ("old", "small", "quiet", "famous")
FILLERS = ("really", "often", "still", "perhaps", "always", "again", "now", "then")
PLACE_OF = {noun: place for place, nouns in PLACES.items() for noun in nouns}
END = "."


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of the language.

    Attributes:
        words: the last two are the place and a full stop.
        nats: its surprise, -log of its probability.
    """

    words: list[str]
    nats: float


def sentence(draw: random.Random, fillers: int | None = None) -> Sentence:
    """Draw a sentence.

    Args:
        draw: source of chance.
        fillers: words between noun and place; None: none in half of the sentences, one or two in the others.
    """
    noun = draw.choice([*PLACE_OF])
    nats = math.log(len(PLACE_OF)) + math.log(2)
    words = ["the"]
    if draw.random() < 0.5:
        words.append(draw.choice(ADJECTIVES))
        nats += math.log(len(ADJECTIVES))
    words += [noun, "are"]
    if fillers is None:
        fillers = draw.choice((0, 0, 1, 2))
        nats += math.log(2) if fillers == 0 else math.log(4)
    nats += fillers * math.log(len(FILLERS))
    words += [*draw.choices(FILLERS, k=fillers), "in", "the", PLACE_OF[noun], END]
    return Sentence(words, nats)


def vocabulary() -> Vocabulary:
    """Return the words of the language."""
    return Vocabulary([END, "the", "are", "in", *ADJECTIVES, *FILLERS, *PLACES, *PLACE_OF])


def text(draw: random.Random, num_sentences: int) -> tuple[list[str], float]:
    """Return sentences as one text, after a full stop, and the entropy rate of what follows it, nats a word."""
    sentences = [sentence(draw) for _ in range(num_sentences)]
    words = [word for one in sentences for word in one.words]
    return [END, *words], sum(one.nats for one in sentences) / len(words)


def stories(draw: random.Random, vocab: Vocabulary, count: int, fillers: int) -> tuple[Tensor, Tensor]:
    """Draw sentences up to the place, which is to be told.

    Args:
        draw: source of chance.
        vocab: of the language.
        count: N.
        fillers: words between noun and place.

    Returns:
        Words <int64>(T, N) from the noun on, so that all are of one length, and places <int64>(N,), as ids.
    """
    rows = []
    for _ in range(count):
        words = sentence(draw, fillers).words
        start = next(place for place, word in enumerate(words) if word in PLACE_OF)
        rows.append(vocab.encode(words[start:-1]))
    ids = torch.tensor(rows).T
    return ids[:-1], ids[-1]
