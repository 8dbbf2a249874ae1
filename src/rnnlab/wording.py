"""How messages are worded: close matches of a typo, lists of names."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import zip_longest
from shutil import get_terminal_size
from textwrap import wrap

_LONGEST = 1000  # characters of a line of a message
_NARROWEST = 20  # columns of a text beside another
_LARGE = 1e7  # from here on a score's decimals tell nothing
_SIMILAR = 0.6  # difflib's ratio above which a word counts as a slip of another
# Which way the scores improve; other numbers, such as the length of a copied span, are neither good nor bad.
_LOWER_IS_BETTER = {"loss", "perplexity", "bits_per_char", "mse", "rollout_radii"}
_HIGHER_IS_BETTER = {"accuracy", "macro_f1", "solved_share", "accepted_share", "well_formed_share", "filled_bar_share"}
# Right words elsewhere, and so like none of ours, or like a wrong one: gpu looks like cpu.
_SYNONYMS = {"gpu": "cuda", "nvidia": "cuda", "float32": "fp32", "bfloat16": "bf16"}


def close_matches(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the candidates a typo may stand for, likeliest first.

    `hiden_size` is close to `model.hidden_size`: without a dot, a word is held against the last part of a key too.
    """
    scored: list[tuple[float, str]] = []
    for candidate in dict.fromkeys(candidates):
        score = _ratio(word, candidate)
        last = candidate.rpartition(".")[2]
        if "." not in word:
            # Slightly less: `seed` is the setting seed before it is any x.seed.
            score = max(score, 0.99 * _ratio(word, last))
        elif word.rpartition(".")[2] == last:
            score = max(score, 0.7)  # right name, wrong section: trainer.lr
        if len(word) > 2 and (candidate.startswith(word) or ("." not in word and last.startswith(word))):
            score = max(score, 0.8)  # cut short: exp, optim
        if score >= _SIMILAR:
            scored.append((-score, candidate))
    return [candidate for _, candidate in sorted(scored)[:limit]]


def did_you_mean(word: str, candidates: Iterable[str], template: str = "{}") -> str:
    """Return '; did you mean a, b or c?' or '' where nothing is close."""
    near = [template.format(match) for match in close_matches(word, candidates)]
    return f"; did you mean {listed(near)}?" if near else ""


def right_choice(word: str, choices: Iterable[str]) -> str:
    """Return '; use cuda' where another word for a choice was given, else what `did_you_mean` says."""
    choices = list(choices)
    synonym = _SYNONYMS.get(word.lower())
    return f"; use {synonym}" if synonym in choices else did_you_mean(word, choices)


def listed(words: list[str], last: str = "or") -> str:
    """Return 'a, b or c'."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def for_a_terminal(message: str) -> str:
    r"""Return a message that quotes what others wrote: long lines cut, what cannot be seen as \x1b, not obeyed."""
    lines = [line if len(line) <= _LONGEST else line[:_LONGEST] + "..." for line in message.split("\n")]
    return "\n".join("".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines)


def side_by_side(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines: what can be copied, whole, and beside it what it is, folded at a terminal's edge."""
    kept = list(pairs)
    width = max(len(first) for first, _ in kept)
    room = get_terminal_size().columns - width - 5 if sys.stdout.isatty() else _LONGEST
    lines = []
    for first, second in kept:
        folded = wrap(second, room) if room >= _NARROWEST else [second]
        lines += [f"  {one:<{width}}   {two}" for one, two in zip_longest([first], folded, fillvalue="")]
    return lines


def better(tag: str) -> str:
    """Return which way a score improves, 'lower' or 'higher'; '' where there is no such way.

    Args:
        tag: its TensorBoard tag or name: test/perplexity, perplexity.
    """
    name = tag.rpartition("/")[2]
    return "lower" if name in _LOWER_IS_BETTER else "higher" if name in _HIGHER_IS_BETTER else ""


def _ratio(word: str, other: str) -> float:
    """Return how alike two words are, 0 to 1, whatever their case."""
    return SequenceMatcher(None, word.lower(), other.lower(), autojunk=False).ratio()


def score_text(value: float, sign: str = "") -> str:
    """Return a score with four decimals; one too large for a column, as of a run that diverges, with four digits.

    Args:
        value: of any size.
        sign: "+" shows it of a positive number, too.
    """
    return f"{value:{sign}.4f}" if abs(value) < _LARGE else f"{value:{sign}.4g}"


def milliseconds(seconds: float) -> str:
    """Return a time in ms with three digits that count: 0.81, 12.3, 1,240."""
    value = 1e3 * seconds
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
