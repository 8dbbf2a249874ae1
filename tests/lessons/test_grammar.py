"""The made-up language: its entropy is what its sentences' frequencies say."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from rnnlab.lessons import grammar


def test_a_sentences_surprise_is_that_of_its_frequency():
    draw = random.Random(0)
    drawn = [grammar.sentence(draw) for _ in range(40_000)]
    counts = Counter(" ".join(one.words) for one in drawn)
    surprise = {" ".join(one.words): one.nats for one in drawn}
    # Plain sentences are drawn a few hundred times each: the counts' own chance is a few percent.
    for noun in ("clouds", "whales", "pans"):
        text = f"the {noun} are in the {grammar.PLACE_OF[noun]} ."
        assert counts[text] / len(drawn) == pytest.approx(math.exp(-surprise[text]), rel=0.2)
    # Every sentence once: probabilities of all add up to 1, and those seen to most of it.
    assert sum(math.exp(-nats) for nats in surprise.values()) <= 1 + 1e-9


def test_the_place_follows_from_the_noun_whatever_stands_between():
    vocab = grammar.vocabulary()
    words, places = grammar.stories(random.Random(0), vocab, 50, 7)
    assert words.shape == (1 + 1 + 7 + 2, 50)
    for row in range(50):
        noun = vocab.decode([int(words[0, row])])[0]
        assert vocab.decode([int(places[row])])[0] == grammar.PLACE_OF[noun]
