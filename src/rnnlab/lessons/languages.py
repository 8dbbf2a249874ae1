"""Language models: the next word, the next note.

Shapes: T steps, B columns, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections import Counter

import torch
from torch import Tensor

from rnnlab.data import Vocabulary
from rnnlab.data.columns import batchify
from rnnlab.generation import sampling
from rnnlab.generation.abc import check_tune
from rnnlab.lessons import grammar
from rnnlab.lessons.fit import fit, smoothed
from rnnlab.lessons.lesson import Finding, Lesson, Where
from rnnlab.lessons.plots import bars, curves
from rnnlab.models import LanguageModel
from rnnlab.models.state import State, detach

_COLUMNS, _WINDOW = 32, 24
_HEADER = "X:1\nT:made up\nM:4/4\nL:1/8\nK:D\n"
_SCALE = "DEFGABcdef"
_BAR = 8  # eighths
_BARS = 4


def train_on_columns(model: LanguageModel, ids: list[int], steps: int) -> list[float]:
    """Train on a text in columns, state carried from window to window; return the loss of each step, nats a token."""
    columns, _ = batchify(ids, _COLUMNS)
    columns = columns[:-1]  # the last step of some columns is padding
    windows = (len(columns) - 1) // _WINDOW
    state: State = None

    def loss(step: int) -> Tensor:
        nonlocal state
        place = step % windows
        if place == 0:
            state = None
        rows = columns[place * _WINDOW : (place + 1) * _WINDOW + 1]
        h, after = model.hidden(rows[:-1], detach(state))
        state = after
        return model.nats(h, rows[1:]) / rows[1:].numel()

    return fit(model, loss, steps=steps, lr=0.01)


def train_on_text(model: LanguageModel, vocab: Vocabulary, steps: int, seed: int) -> list[float]:
    """Train on made-up sentences."""
    words, _ = grammar.text(random.Random(seed), 8000)
    return train_on_columns(model, vocab.encode(words), steps)


@torch.no_grad()
def nats_of(model: LanguageModel, ids: list[int]) -> float:
    """Return the mean surprise of every token but the first, read as one stream."""
    stream = torch.tensor(ids)[:, None]
    h, _ = model.hidden(stream[:-1])
    return float(model.nats(h, stream[1:])) / (len(ids) - 1)


def _unigram(ids: list[int], tests: list[int], vocab_size: int) -> float:
    """Return the surprise of a model that knows how frequent tokens are, and nothing else."""
    counts = Counter(ids)
    total = len(ids) + vocab_size
    return -sum(math.log((counts[one] + 1) / total) for one in tests[1:]) / (len(tests) - 1)


def _next_word(quick: bool, seed: int) -> Finding:
    """Train on made-up sentences and hold the perplexity on new ones against the entropy of the language."""
    vocab, steps = grammar.vocabulary(), 800 if quick else 1600
    model = LanguageModel(len(vocab), cell="lstm", hidden_size=48, embedding_size=24)
    losses = train_on_text(model, vocab, steps, seed)
    words, entropy = grammar.text(random.Random(seed + 1), 1000)
    ids = vocab.encode(words)
    perplexity, floor = math.exp(nats_of(model, ids)), math.exp(entropy)
    trained, _ = grammar.text(random.Random(seed), 8000)
    unigram = math.exp(_unigram(vocab.encode(trained), ids, len(vocab)))
    asked = "the clouds are in the".split()
    with torch.no_grad():
        logits, _ = model(torch.tensor(vocab.encode([grammar.END, *asked]))[:, None])
    chances = logits[-1, 0].softmax(-1)
    places = {place: float(chances[vocab.id_of(place)]) for place in grammar.PLACES}
    numbers = {
        "perplexity of the model": perplexity,
        "perplexity of the language itself": floor,
        "perplexity knowing frequencies alone": unigram,
        "vocabulary": len(vocab),
        **{f"P({place} | the clouds are in the)": chance for place, chance in places.items()},
    }
    verdict = (
        f"On 1,000 new sentences the model's perplexity is {perplexity:.3f}; the language's own is {floor:.3f}, and "
        f"knowing frequencies alone gives {unigram:.1f}. The clouds are in the sky, it says, with probability "
        f"{places['sky']:.3f}."
    )
    xs, means = smoothed(losses)
    shown = {"model, training": [*map(math.exp, means)], "the language": [floor] * len(xs)}
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=floor * 0.97 < perplexity < floor * (1.1 if quick else 1.05)
        and places["sky"] > 0.9
        and unigram > 2 * floor,
        figures=[curves("Perplexity", xs, shown, "across: updates; up: perplexity")],
    )


def _tune(draw: random.Random) -> tuple[str, float]:
    """Draw the bars of a tune whose bars are all full, and its surprise in nats."""
    bars_of, nats = [], 0.0
    for _ in range(_BARS):
        left, notes = _BAR, ""
        while left:
            lengths = [length for length in (1, 2, 4) if length <= left]
            length = draw.choice(lengths)
            notes += draw.choice(_SCALE) + {1: "", 2: "2", 4: "4"}[length]
            nats += math.log(len(lengths)) + math.log(len(_SCALE))
            left -= length
        bars_of.append(notes)
    return "|".join(bars_of) + "|]\n", nats


def _filled(model: LanguageModel, vocab: Vocabulary, seed: int, count: int) -> tuple[float, str]:
    """Let a model write tunes; return the share of bars that fill the metre, and one tune."""
    written = sampling.sample(
        model,
        [vocab.id_of("\n")],
        num_tokens=160,
        count=count,
        generator=torch.Generator().manual_seed(seed),
        stop_id=vocab.id_of("\n"),
    )
    tunes = ["".join(vocab.decode(ids)) for ids in written]
    checks = [check_tune(f"{_HEADER}{tune}\n") for tune in tunes]
    filled = sum(check.num_filled for check in checks)
    told = sum(max(check.num_bars, tune.count("|"), 1) for check, tune in zip(checks, tunes, strict=True))
    return filled / told, tunes[0]


def _music(quick: bool, seed: int) -> Finding:
    """Train on tunes with full bars, let the model write, and count the bars that fill the metre."""
    vocab, steps, count = Vocabulary(["\n", "|", "]", "2", "4", *_SCALE]), 1200 if quick else 2500, 100
    draw = random.Random(seed)
    ids = vocab.encode("\n" + "".join(_tune(draw)[0] for _ in range(1500 if quick else 4000)))
    model = LanguageModel(len(vocab), cell="gru", hidden_size=64, embedding_size=16)
    before, _ = _filled(model, vocab, seed, count)
    losses = train_on_columns(model, ids, steps)
    after, tune = _filled(model, vocab, seed, count)
    drawn = [_tune(random.Random(seed + 1 + row)) for row in range(150)]
    tests = "".join(text for text, _ in drawn)
    bits = nats_of(model, vocab.encode("\n" + tests)) / math.log(2)
    floor = sum(nats for _, nats in drawn) / len(tests) / math.log(2)
    numbers = {
        "bits per character of the model": bits,
        "bits per character of the rules": floor,
        "share of bars that fill the metre, untrained": before,
        "share of bars that fill the metre, trained": after,
    }
    verdict = (
        f"Of the bars in {count} tunes that it wrote, {after:.0%} fill the metre, before training {before:.0%}; on "
        f"new tunes it needs {bits:.3f} bits per character, where the rules they were made by leave {floor:.3f}. One "
        f"of them: {tune}"
    )
    xs, means = smoothed(losses)
    shown = {"model, training": [mean / math.log(2) for mean in means], "the rules": [floor] * len(xs)}
    return Finding(
        numbers=numbers,
        verdict=verdict,
        holds=after > 0.7 and before < 0.2 and floor * 0.97 < bits < floor * 1.15,
        figures=[
            curves("Bits per character", xs, shown, "across: updates; up: bits"),
            bars("Bars that fill the metre", {"untrained": before, "trained": after}, "share", marked=["trained"]),
        ],
    )


LESSONS = {
    "next-word": Lesson(
        title="Many to many: the next word, and how well it can be known",
        text=[
            "A language model gives each next word a probability, at every step. Its perplexity is e to the mean "
            "surprise: among how many equally likely words it has to choose, so to speak.",
            "No model can be better than the language is uncertain. Of real languages nobody knows how much that "
            "is. The sentences here are made by a small grammar of our own, whose entropy is exact: the place "
            "follows from the noun, words before.",
        ],
        equation="P(w_(t+1) | w_1 .. w_t) = softmax(W h_t + b)        perplexity = exp(mean of -log P)",
        where=[Where(LanguageModel.decode, "functional.linear"), Where(LanguageModel.nats, "linear_cross_entropy")],
        sources="Shannon 1951; Bengio et al. 2003; Mikolov et al. 2010",
        expected="perplexity within 5 % of the language's own (short form: 10 %), and 'sky' above 0.9",
        measure=_next_word,
    ),
    "music": Lesson(
        title="One to many: tunes whose bars add up",
        text=[
            "A trained model can write: draw a next character from what it says, feed it back, and go on. Here the "
            "characters are music in ABC notation, bars of eight eighths, with notes drawn at random.",
            "Nobody tells the model what a bar is. To close one in the right place it has to add up lengths, over "
            "up to eight notes. A reader of ABC notation counts how many of the bars it writes fill the metre.",
        ],
        equation="c_(t+1) ~ softmax(W h_t + b),    h_(t+1) = step(c_(t+1), h_t)",
        where=[Where(sampling._steps, "logits, state = model"), Where(check_tune)],
        sources="Graves 2013; Sturm et al. 2016",
        expected="at least 70 % of the bars fill the metre, untrained below 20 %, and bits per character within 15 % "
        "of the rules' own",
        measure=_music,
    ),
}
