"""Read the music of a tune in ABC notation into bars and how long each lasts.

Lengths are fractions of a whole note. Pitches are recognised but not interpreted.

Source: the ABC notation standard 2.1 (abcnotation.com), section 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from rnnlab.generation.abc.read import Metre, parse_key, parse_metre, parse_unit_length

_PITCH = r"(?:\^{1,2}|_{1,2}|=)?[A-Ga-g][,']*"
# One way only to match a run of digits: with two, an unclosed chord would take exponential time.
_LENGTH = r"\d*(?:/+\d*)?"
# The symbols of section 4.14, and J, R, K, k, U and V, which older collections use.
_SYMBOLS = ".~HJKLMOPRSTUVkuv"
_SIMPLE = rf"{_PITCH}{_LENGTH}|z{_LENGTH}|[\s()\-{re.escape(_SYMBOLS)}]"

# In this order: "[K:" before "[1" before a bar line "[|" before a chord, "(3" before a slur, "!trill!" before "!".
_TOKEN = re.compile(
    rf"""
      (?P<space>   [ \t`]+ | y\d* | \\\s*$ | [$*]\s*$ )
    | (?P<quoted>  "[^"]*" )
    | (?P<field>   \[[A-Za-z]:[^\]]*\] )
    | (?P<ending>  \[\d[\d,.\-]* )
    | (?P<bar>     (?:\[\||[|:\]])+(?:\d[\d,\-]*)? )
    | (?P<mark>    !\w[^!|]*! | \+\w+\+ | [{re.escape(_SYMBOLS)}] )
    | (?P<tuplet>  \([2-9](?::\d?){{0,2}} )
    | (?P<slur>    [()] )
    | (?P<grace>   \{{/?(?:{_SIMPLE}|[<>\[\]])*\}} )
    | (?P<chord>   \[(?:{_SIMPLE}|"[^"]*")+\](?P<chord_length>{_LENGTH}) )
    | (?P<note>    {_PITCH}(?P<note_length>{_LENGTH}) )
    | (?P<rest>    [zx](?P<rest_length>{_LENGTH}) )
    | (?P<bars_rest> [ZX](?P<num_bars>\d*) )
    | (?P<tie>     - )
    | (?P<broken>  >{{1,3}} | <{{1,3}} )
    | (?P<overlay> & )
    | (?P<old_line_end> ! )
    """,
    re.VERBOSE,
)
_FIRST_OF_CHORD = re.compile(rf"{_PITCH}({_LENGTH})")
# A model may write Z999999999; nobody wants that many bars in memory.
_MAX_RESTED_BARS = 1000
_FIELD_LINE = re.compile(r"([IKLMNPQRTUVWmrsw+]):(?![|:])(.*)")


class MusicError(ValueError):
    """Music that cannot be read; the message names the line of the body and the column, both from 1."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with music in it.

    Attributes:
        length: how long it lasts, in whole notes.
        metre: how long it should last, in whole notes; None where the metre is free.
        opens: it stands first in the tune or after a repeat, double bar or ending, where there may be a pickup.
        closes: it stands last or before such a sign, where the bar may lack what the pickup has.
        line: line of the body it ends in, from 1.
    """

    length: Fraction
    metre: Fraction | None
    opens: bool
    closes: bool
    line: int


@dataclass(frozen=True, slots=True)
class Music:
    """The bars of all voices, voice after voice, and the number of notes and chords in them."""

    bars: tuple[Bar, ...]
    num_notes: int


def read_music(body: Sequence[str], *, metre: Metre | None, unit_length: Fraction) -> Music:
    """Read the body of a tune.

    Line ends do not end a bar. Bars without notes and rests (`| |`, `|| |:`) are merged into the next bar line.

    Args:
        body: the lines after the header.
        metre: the time signature, None for free metre; fields `M:` in the body change it.
        unit_length: length of a note without a number, in whole notes; fields `L:` change it.

    Raises:
        MusicError: a sign that is not ABC notation, a broken rhythm without a note on each side, a length of zero, or
            a field that cannot be read.
    """
    voices: dict[str, _Voice] = {}
    voice = voices.setdefault("", _Voice(metre, unit_length))

    def change(letter: str, value: str) -> None:
        nonlocal voice
        value = value.split("%")[0].strip()
        match letter:
            case "M":
                voice.metre = parse_metre(value)
            case "L":
                voice.unit_length = parse_unit_length(value)
            case "K" if value:
                parse_key(value)
            case "V" if value:
                voice = voices.setdefault(value.split()[0], _Voice(metre, unit_length))

    for number, text in enumerate(body, start=1):
        column = 0
        try:
            field = _FIELD_LINE.fullmatch(text)
            if field is not None:
                change(field[1], field[2])
                continue
            line = re.sub(r"(?<!\\)%.*", "", text)
            while column < len(line):
                token = _TOKEN.match(line, column)
                if token is None:
                    raise ValueError(f"{line[column : column + 8]!r} is not music")
                if token["field"]:
                    change(token["field"][1], token["field"][3:-1])
                else:
                    voice.take(token, number)
                column = token.end()
        except ValueError as error:
            raise MusicError(f"line {number}, column {column + 1} of the music: {error}") from None
    for each in voices.values():
        try:
            each.end_bar(is_section=True, line=len(body))
        except ValueError as error:
            raise MusicError(f"end of the music: {error}") from None
    return Music(
        bars=tuple(bar for each in voices.values() for bar in each.bars),
        num_notes=sum(each.num_notes for each in voices.values()),
    )


class _Voice:
    """One voice while it is read."""

    def __init__(self, metre: Metre | None, unit_length: Fraction) -> None:
        self.metre = metre
        self.unit_length = unit_length
        self.bars: list[Bar] = []
        self.num_notes = 0
        self._length = Fraction(0)
        self._opens = True
        self._last: Fraction | None = None
        self._next_factor: Fraction | None = None
        self._tuplet_notes = 0
        self._tuplet_factor = Fraction(1)
        self._longest_layer = Fraction(0)

    def take(self, token: re.Match[str], line: int) -> None:
        """Take in one token of music."""
        if token["note"]:
            self.num_notes += 1
            self._add(_times(token["note_length"]))
        elif token["rest"]:
            self._add(_times(token["rest_length"]))
        elif token["chord"]:
            self.num_notes += 1
            first = _FIRST_OF_CHORD.search(token["chord"])
            self._add(_times(first[1] if first else "") * _times(token["chord_length"]))
        elif token["broken"]:
            self._break(token["broken"])
        elif token["tuplet"]:
            self._start_tuplet(token["tuplet"])
        elif token["bar"] or token["ending"]:
            sign = token["bar"] or token["ending"]
            if sign in (":", "]") and self._length:
                raise ValueError(f"{sign!r} alone is no bar line")
            self.end_bar(is_section=sign != "|", line=line)
        elif token["bars_rest"]:
            self._rest_bars(int(token["num_bars"] or 1), line)
        elif token["overlay"]:
            self._longest_layer = max(self._longest_layer, self._length)
            self._length = Fraction(0)

    def end_bar(self, *, is_section: bool, line: int) -> None:
        """Close the bar at a bar line, or at the tune's end; one without music only passes on what the sign means."""
        if self._next_factor is not None:
            raise ValueError("a broken rhythm has no note after it")
        length = max(self._length, self._longest_layer)
        if length:
            wanted = self.metre.bar_length if self.metre else None
            self.bars.append(Bar(length, wanted, self._opens, is_section, line))
            self._opens = is_section
        elif is_section:
            self._opens = True
            if self.bars:
                self.bars[-1] = replace(self.bars[-1], closes=True)
        self._length = self._longest_layer = Fraction(0)
        self._last = None

    def _add(self, times: Fraction) -> None:
        length = times * self.unit_length
        if self._tuplet_notes:
            self._tuplet_notes -= 1
            length *= self._tuplet_factor
        if self._next_factor is not None:
            length *= self._next_factor
            self._next_factor = None
        self._length += length
        self._last = length

    def _break(self, signs: str) -> None:
        """`a>b` dots a and halves b, `a<b` the other way round; a second and third sign halve again."""
        if self._last is None or self._next_factor is not None:
            raise ValueError("a broken rhythm has no note before it")
        short = Fraction(1, 2 ** len(signs))
        before, self._next_factor = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        self._length += self._last * (before - 1)
        self._last = None

    def _start_tuplet(self, sign: str) -> None:
        """`(p:q:r`: the next r notes last q in the time of p."""
        numbers = [int(part) if part else 0 for part in sign[1:].split(":")] + [0, 0]
        notes = numbers[0]
        by_metre = 3 if self.metre and self.metre.is_compound else 2
        usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(notes, by_metre)
        self._tuplet_factor = Fraction(numbers[1] or usual, notes)
        self._tuplet_notes = numbers[2] or notes

    def _rest_bars(self, num_bars: int, line: int) -> None:
        """`Z4` rests for four bars."""
        if not 1 <= num_bars <= _MAX_RESTED_BARS:
            raise ValueError(f"a rest must be 1 to {_MAX_RESTED_BARS} bars long, got {num_bars}")
        if self.metre is None:
            return
        for index in range(num_bars):
            self._length += self.metre.bar_length
            if index + 1 < num_bars:
                self.end_bar(is_section=False, line=line)


def _times(text: str) -> Fraction:
    """Return the multiple of the unit length that a note's number means: "3/2", "/" is a half, "//" a quarter."""
    numerator, slash, denominator = text.partition("/")
    num_slashes = len(slash) + denominator.count("/")
    above = int(numerator or 1)
    below = int(denominator.lstrip("/") or 2) * 2 ** (num_slashes - 1) if slash else 1
    if above == 0 or below == 0:
        raise ValueError(f"a note's length must not be zero, got {text!r}")
    return Fraction(above, below)
