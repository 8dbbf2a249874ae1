"""Read the music of a tune in ABC notation into voices, bars and notes.

Lengths are fractions of a whole note.

Source: the ABC notation standard 2.1 (abcnotation.com), section 4.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from rnnlab.generation.abc.pitch import Key, read_key
from rnnlab.generation.abc.read import Metre, parse_key, parse_metre, parse_unit_length
from rnnlab.generation.abc.voice import Bar, Voice

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
_FIELD_LINE = re.compile(r"([IKLMNPQRTUVWmrsw+]):(?![|:])(.*)")


class MusicError(ValueError):
    """Music that cannot be read; the message names the line of the body and the column, both from 1."""


@dataclass(frozen=True, slots=True)
class Music:
    """The music of a tune.

    Attributes:
        voices: in the order they come in; more than one only if fields `V:` name them.
        num_skipped: signs that were no music, if those were to be skipped.
    """

    voices: tuple[Voice, ...]
    num_skipped: int = 0

    @property
    def bars(self) -> tuple[Bar, ...]:
        """The bars of all voices, voice after voice."""
        return tuple(bar for voice in self.voices for bar in voice.bars)

    @property
    def num_notes(self) -> int:
        """Notes and chords in them."""
        return sum(voice.num_notes for voice in self.voices)


def read_music(
    body: Sequence[str], *, metre: Metre | None, unit_length: Fraction, key: str = "none", skip_errors: bool = False
) -> Music:
    """Read the body of a tune.

    Line ends do not end a bar. Bars without notes and rests (`| |`, `|| |:`) are merged into the next bar line.

    Args:
        body: the lines after the header.
        metre: the time signature, None for free metre; fields `M:` in the body change it.
        unit_length: length of a note without a number, in whole notes; fields `L:` change it.
        key: the key that the header names; fields `K:` change it.
        skip_errors: pass over what is no music, as players do, instead of raising.

    Raises:
        MusicError: a sign that is not ABC notation, a broken rhythm without a note on each side, a length of zero, or
            a field that cannot be read.
    """
    reader = _Reader(metre, unit_length, read_key(key))
    num_skipped = 0
    for number, text in enumerate(body, start=1):
        field = _FIELD_LINE.fullmatch(text)
        line = "" if field else re.sub(r"(?<!\\)%.*", "", text)
        column = 0
        while field or column < len(line):
            token = None if field else _TOKEN.match(line, column)
            try:
                if field:
                    reader.change(field[1], field[2])
                elif token is None:
                    raise ValueError(f"{line[column : column + 8]!r} is not music")
                elif token["field"]:
                    reader.change(token["field"][1], token["field"][3:-1])
                else:
                    reader.voice.take(token, number)
            except ValueError as error:
                if not skip_errors:
                    message = f"line {number}, column {column + 1} of the music: {error}"
                    raise MusicError(message) from None
                num_skipped += 1
            if field:
                break
            column = token.end() if token else column + 1
    for each in reader.voices.values():
        try:
            each.end_bar(is_section=True, line=len(body))
        except ValueError as error:
            if not skip_errors:
                raise MusicError(f"end of the music: {error}") from None
            num_skipped += 1
            each.end_bar(is_section=True, line=len(body))
    return Music(tuple(voice for voice in reader.voices.values() if voice.bars), num_skipped)


class _Reader:
    """The voices, and the one that is written now."""

    def __init__(self, metre: Metre | None, unit_length: Fraction, key: Key) -> None:
        self._start = (metre, unit_length, key)
        self.voice = Voice(*self._start)
        self.voices = {"": self.voice}

    def change(self, letter: str, value: str) -> None:
        """Follow a field: metre, unit length, key or voice."""
        value = value.split("%")[0].strip()
        match letter:
            case "M":
                self.voice.metre = parse_metre(value)
            case "L":
                self.voice.unit_length = parse_unit_length(value)
            case "K" if value:
                self.voice.key = read_key(parse_key(value))
            case "V" if value:
                self.voice = self.voices.setdefault(value.split()[0], Voice(*self._start))
