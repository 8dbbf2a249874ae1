"""Read the header of a tune in ABC notation: what its metre, unit length and key mean.

Lengths are fractions of a whole note: a quarter note is 1/4, a bar of 6/8 is 3/4.

Source: the ABC notation standard 2.1 (abcnotation.com), sections 3.1.6 to 3.1.14.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from rnnlab.data.abc import header_field, split_tune

_METRE = re.compile(r"\(?(\d+(?:\s*\+\s*\d+)*)\)?\s*/\s*(\d+)")
_LENGTH = re.compile(r"(\d+)\s*/\s*(\d+)|1")
# Of a mode's name three letters count: mix, Mixolydian and MIX are one mode. What follows a blank or an accidental is
# explicit accidentals or a clef. Hp and HP are Highland pipes.
_KEY = re.compile(
    r"(?:none|H[pP]|[A-G][#b♯♭]?\s*(?i:(?:maj|min|ion|aeo|mix|dor|phr|lyd|loc|exp)[a-z]*|m)?)(?:[\s^_=].*)?"
)


@dataclass(frozen=True, slots=True)
class Metre:
    """A time signature: 6/8 has six beats of 1/8 of a whole note.

    Attributes:
        beats: the number above, at least 1.
        beat: the number below, at least 1.
    """

    beats: int
    beat: int

    @property
    def bar_length(self) -> Fraction:
        """Length of a bar in whole notes."""
        return Fraction(self.beats, self.beat)

    @property
    def is_compound(self) -> bool:
        """Whether its beats go in threes: 6/8, 9/8, 12/8 and their like."""
        return self.beats in (6, 9, 12)


@dataclass(frozen=True, slots=True)
class Tune:
    """One tune, its header understood.

    Attributes:
        title: the first title; empty when there is none.
        metre: the time signature; None when the metre is free (`M:none`, or no `M:` at all).
        unit_length: length of a note written without a number, in whole notes.
        key: the key as written, for example "Gm" or "D Mixolydian".
        body: the lines after the header.
    """

    title: str
    metre: Metre | None
    unit_length: Fraction
    key: str
    body: tuple[str, ...]


def read_tune(tune: str) -> Tune:
    """Understand the header of one tune.

    Args:
        tune: one tune, as `rnnlab.data.abc.split_tunes` gives it.

    Raises:
        ValueError: no `K:`, or a metre, unit length or key that cannot be read.
    """
    header, body = split_tune(tune)
    if not header or header[-1][0] != "K":
        raise ValueError("the tune has no key; end its header with a line such as K:G")
    num_lines = len(split_tune(tune.partition("\nK:")[0])[1])
    if num_lines:
        raise ValueError(f"{num_lines} lines before the key K: are no fields; music comes after the key")
    metre = parse_metre(header_field(tune, "M") or "none")
    unit = header_field(tune, "L")
    return Tune(
        title=header_field(tune, "T") or "",
        metre=metre,
        unit_length=default_unit_length(metre) if unit is None else parse_unit_length(unit),
        key=parse_key(header[-1][1]),
        body=tuple(body),
    )


def parse_metre(value: str) -> Metre | None:
    """Return the time signature; None for a free metre.

    Args:
        value: what follows `M:`, for example "6/8", "C", "C|", "2+3+2/8" or "none".

    Raises:
        ValueError: it is none of these.
    """
    value = value.strip()
    if value in ("", "none"):
        return None
    if value in ("C", "C|"):
        return Metre(4, 4) if value == "C" else Metre(2, 2)
    match = _METRE.fullmatch(value)
    beats = sum(int(part) for part in match[1].split("+")) if match else 0
    if match is None or beats == 0 or int(match[2]) == 0:
        raise ValueError(f"metre M: must be like 6/8, C or none, got {value!r}")
    return Metre(beats, int(match[2]))


def parse_unit_length(value: str) -> Fraction:
    """Return the unit note length in whole notes.

    Args:
        value: what follows `L:`, for example "1/8".

    Raises:
        ValueError: it is no fraction, or zero.
    """
    match = _LENGTH.fullmatch(value.strip())
    if match is None or (match[1] and 0 in (int(match[1]), int(match[2]))):
        raise ValueError(f"unit length L: must be like 1/8, got {value!r}")
    return Fraction(int(match[1]), int(match[2])) if match[1] else Fraction(1)


def default_unit_length(metre: Metre | None) -> Fraction:
    """Return the unit length of a tune without `L:`: 1/16 in a metre below 3/4, otherwise 1/8."""
    return Fraction(1, 16) if metre is not None and metre.bar_length < Fraction(3, 4) else Fraction(1, 8)


def parse_key(value: str) -> str:
    """Return a key, stripped, if it is one.

    Args:
        value: what follows `K:`, for example "G", "Am", "D Mixolydian" or "none".

    Raises:
        ValueError: it names no key.
    """
    value = value.strip()
    if not _KEY.fullmatch(value):
        raise ValueError(f"key K: must be like G, Bb, F#m or D Mixolydian, got {value!r}")
    return value
