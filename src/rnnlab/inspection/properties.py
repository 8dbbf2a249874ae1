"""What a unit may know about a text, computed from its tokens alone: is a quote open, how far is it into the bar.

A property says of every token, once it was read, whether something holds. Some are about what was read (a quote is
open), some about what is to come (the tune is about to end): the second a model can only guess.

Legend: N tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

Flags = list[bool]


@dataclass(frozen=True, slots=True)
class Property:
    """Something that holds at some tokens of a text and not at others.

    Attributes:
        about: what a unit that predicts it knows, after "knows whether".
        holds: from the tokens of one text, N, to N flags.
    """

    about: str
    holds: Callable[[Sequence[str]], Flags]


BAR_START, LINE_START, ENDING = 3, 5, 30  # characters
NEGATED, LONG_SENTENCE, TEXT_START, TEXT_END = 5, 20, 20, 20  # words
SENTENCE_MARKS = frozenset(".!?。！？｡।॥؟۔")  # also of Chinese and Japanese, Hindi, Arabic, Urdu
COMMAS = frozenset(",，、،")
_NEGATIONS = re.compile(r"not|no|never|nor|none|nothing|neither|without|.*n't")
_OPEN_QUOTES, _CLOSED_QUOTES = frozenset(["“", "``", "「", "『"]), frozenset(["”", "''", "」", "』"])
_CHORD = re.compile(r"\[[^\]\[|:\d\n][^\]|:\n]*\]")  # not an ending [1 nor a field [K:G]
_SLUR = re.compile(r"\((?!\d)[^()\n]*\)?")  # not a triplet (3
_GRACE = re.compile(r"\{[^}\n]*\}")
_CHORD_SYMBOL = re.compile(r'"[^"\n]*"')
_BAR_LINE = re.compile(r"[|:\[\]]*\|[|:\]]*")


def word_properties(line_end: str) -> dict[str, Property]:
    """Properties of a text in words.

    Args:
        line_end: the token that ends a line.
    """

    def sentence(words: Sequence[str]) -> list[int]:
        return _since(words, lambda word: word in SENTENCE_MARKS or word == line_end)

    return {
        "quote_open": Property("a quote is open", lambda words: _quotes(words, line_end)),
        "bracket_open": Property("a parenthesis or bracket is open", lambda words: _brackets(words, line_end)),
        "sentence_start": Property(
            "a sentence has just begun (3 words)", lambda words: [n < 3 for n in sentence(words)]
        ),
        "sentence_long": Property(
            f"the sentence has more than {LONG_SENTENCE} words so far",
            lambda words: [count > LONG_SENTENCE for count in sentence(words)],
        ),
        "sentence_ends_next": Property(
            "the sentence ends with the next token", lambda words: _next(word in SENTENCE_MARKS for word in words)
        ),
        "line_ends_next": Property(
            "the line ends with the next token", lambda words: _next(w == line_end for w in words)
        ),
        "digit": Property("the word just read has a digit", lambda words: [any(map(str.isdigit, w)) for w in words]),
        "after_comma": Property("the sentence had a comma", lambda words: _after_comma(words, line_end)),
    }


def review_properties() -> dict[str, Property]:
    """Properties of one text in words that is read to be classified; its class is known apart."""
    return {
        "negated": Property(f"one of the last {NEGATED} words was a negation", _negated),
        "exclaimed": Property("there was an exclamation mark so far", lambda words: _so_far(w == "!" for w in words)),
        "sentence_start": Property(
            "a sentence has just begun (3 words)",
            lambda words: [count < 3 for count in _since(words, SENTENCE_MARKS.__contains__)],
        ),
        "digit": Property("the word just read has a digit", lambda words: [any(map(str.isdigit, w)) for w in words]),
        "text_start": Property(
            f"the text has just begun ({TEXT_START} words)", lambda words: [n < TEXT_START for n in range(len(words))]
        ),
        "text_end": Property(
            f"the text ends within {TEXT_END} words",
            lambda words: [len(words) - n <= TEXT_END for n in range(len(words))],
        ),
    }


def tune_properties() -> dict[str, Property]:
    """Properties of one tune in ABC notation, in characters; a longer token, such as the start symbol, is no letter."""
    return {
        "in_header": Property("it is still in the header", _in_header),
        "bar_start": Property(f"a bar line was just read ({BAR_START} characters)", _bar_start),
        "bar_second_half": Property("the bar is half over", lambda tokens: _halves(tokens, _bars(tokens))),
        "slur_open": Property("a slur or a grace note's brace is open", lambda tokens: _inside(tokens, _SLUR, _GRACE)),
        "chord_open": Property("a chord bracket is open", lambda tokens: _inside(tokens, _CHORD)),
        "quote_open": Property("a chord symbol's quote is open", lambda tokens: _inside(tokens, _CHORD_SYMBOL)),
        "repeat_open": Property("a repeat is open", _repeat_open),
        "line_start": Property(
            f"a line has just begun ({LINE_START} characters)",
            lambda tokens: [count < LINE_START for count in _since(tokens, "\n".__eq__)],
        ),
        "digit": Property("the character just read is a digit", lambda tokens: [t.isdigit() for t in tokens]),
        "uppercase": Property(
            "the letter just read is upper case", lambda tokens: [len(t) == 1 and t.isupper() for t in tokens]
        ),
        "ending": Property(
            f"the tune ends within {ENDING} characters",
            lambda tokens: [len(tokens) - n <= ENDING for n in range(len(tokens))],
        ),
    }


def _since(tokens: Sequence[str], ends: Callable[[str], bool]) -> list[int]:
    """Tokens read since the last end: 0 at the end itself and at the start."""
    counts, count = [], -1
    for token in tokens:
        count = 0 if ends(token) else count + 1
        counts.append(count)
    return counts


def _next(flags: Iterable[bool]) -> Flags:
    flags = list(flags)
    return flags[1:] + [False] * bool(flags)


def _so_far(flags: Iterable[bool]) -> Flags:
    return list(accumulate(flags, lambda before, now: before or now))


def _quotes(words: Sequence[str], line_end: str) -> Flags:
    """A straight quote opens and closes; one that is never closed ends with its line."""
    flags, is_open = [], False
    for word in words:
        if word == '"':
            is_open = not is_open
        elif word in _OPEN_QUOTES or word in _CLOSED_QUOTES or word == line_end:
            is_open = word in _OPEN_QUOTES
        flags.append(is_open)
    return flags


def _brackets(words: Sequence[str], line_end: str) -> Flags:
    flags, depth = [], 0
    for word in words:
        depth = 0 if word == line_end else max(0, depth + (word in "([") - (word in ")]")) if len(word) == 1 else depth
        flags.append(depth > 0)
    return flags


def _after_comma(words: Sequence[str], line_end: str) -> Flags:
    flags, had = [], False
    for word in words:
        had = word in COMMAS or (had and word not in SENTENCE_MARKS and word != line_end)
        flags.append(had)
    return flags


def _negated(words: Sequence[str]) -> Flags:
    found = [bool(_NEGATIONS.fullmatch(word)) for word in words]
    return [any(found[max(0, end - NEGATED) : end]) for end in range(1, len(found) + 1)]


def _one_each(tokens: Sequence[str]) -> str:
    """The tokens as a text with one character for each, so that places in it are places in the tokens."""
    return "".join(token if len(token) == 1 else "\0" for token in tokens)


def _music_begins(text: str) -> int:
    """Where the line after the key begins; the end of the text if there is no key."""
    key = re.search(r"(?:^|\n|\0)K:[^\n]*\n", text)
    return key.end() if key else len(text)


def _in_header(tokens: Sequence[str]) -> Flags:
    begin = _music_begins(_one_each(tokens))
    return [place < begin for place in range(len(tokens))]


def _inside(tokens: Sequence[str], *patterns: re.Pattern[str]) -> Flags:
    """From the opening mark of a match on, and up to its closing one, which is outside again."""
    text = _one_each(tokens)
    flags, begin = [False] * len(text), _music_begins(text)
    for pattern in patterns:
        for match in pattern.finditer(text, begin):
            flags[match.start() : match.end() - 1] = [True] * (len(match[0]) - 1)
    return flags


def _bars(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Begin and end of each bar of the music, between bar lines."""
    text = _one_each(tokens)
    begin = _music_begins(text)
    bars = []
    for match in _BAR_LINE.finditer(text, begin):
        if match.start() > begin:
            bars.append((begin, match.start()))
        begin = match.end()
    return bars


def _halves(tokens: Sequence[str], bars: Iterable[tuple[int, int]]) -> Flags:
    flags = [False] * len(tokens)
    for begin, end in bars:
        middle = (begin + end) // 2
        flags[middle:end] = [True] * (end - middle)
    return flags


def _bar_start(tokens: Sequence[str]) -> Flags:
    flags = [False] * len(tokens)
    text = _one_each(tokens)
    for match in _BAR_LINE.finditer(text, _music_begins(text)):
        last = min(match.end() + BAR_START, len(flags))
        flags[match.end() - 1 : last] = [True] * (last - match.end() + 1)
    return flags


def _repeat_open(tokens: Sequence[str]) -> Flags:
    flags, is_open = [], False
    for before, token in zip(["", *tokens], tokens, strict=False):
        if before + token in ("|:", ":|"):
            is_open = before == "|"
        flags.append(is_open)
    return flags
