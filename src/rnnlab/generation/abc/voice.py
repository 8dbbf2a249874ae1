"""One voice of a tune while it is read: how long its bars last, and the notes in them.

Lengths are fractions of a whole note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from rnnlab.generation.abc.pitch import Accidentals, Key, Pitch
from rnnlab.generation.abc.read import Metre

# A model may write Z999999999; nobody wants that many bars in memory.
_MAX_RESTED_BARS = 1000
_FIRST_LENGTH = re.compile(r"[A-Ga-g][,']*(\d*(?:/+\d*)?)")
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Note:
    """A note, a chord or a rest.

    Attributes:
        start: where in its bar it begins, in whole notes.
        length: how long it lasts, in whole notes.
        pitches: from the order they are written in; empty for a rest.
        written: its length without what a tuplet makes of it, in whole notes.
        is_tied: it goes on in the next note of its pitch.
        is_apart: a blank stands before it, so that no beam joins it to the note before.
        tuplet: it is one of so many in a tuplet; 0: of none.
    """

    start: Fraction
    length: Fraction
    pitches: tuple[Pitch, ...]
    written: Fraction
    is_tied: bool = False
    is_apart: bool = False
    tuplet: int = 0


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar with music in it.

    Attributes:
        length: how long it lasts, in whole notes.
        metre: how long it should last, in whole notes; None where the metre is free.
        opens: it stands first in the tune or after a repeat, double bar or ending, where there may be a pickup.
        closes: it stands last or before such a sign, where the bar may lack what the pickup has.
        line: line of the body it ends in, from 1.
        notes: notes, chords and rests.
        key: the key that holds where it begins.
        signature: the time signature, None for free metre.
    """

    length: Fraction
    metre: Fraction | None
    opens: bool
    closes: bool
    line: int
    notes: tuple[Note, ...] = ()
    key: Key = Key(0, {})  # noqa: RUF009
    signature: Metre | None = None


class Voice:
    """One voice while it is read.

    Attributes:
        metre: in force; None for free metre.
        unit_length: length of a note without a number, in whole notes.
        bars: those that have ended.
        signs: bar lines other than "|", and endings: how many bars stand before each, and the sign.
        num_notes: notes and chords so far.
    """

    def __init__(self, metre: Metre | None, unit_length: Fraction, key: Key) -> None:
        """Start before the first bar."""
        self.metre = metre
        self.unit_length = unit_length
        self.bars: list[Bar] = []
        self.signs: list[tuple[int, str]] = []
        self.num_notes = 0
        self._accidentals = Accidentals(key)
        self._bar_key = key
        self._bar_signature = metre
        self._notes: list[Note] = []
        self._is_apart = False
        self._length = Fraction(0)
        self._opens = True
        self._last: Fraction | None = None
        self._next_factor: Fraction | None = None
        self._tuplet = 0
        self._tuplet_notes = 0
        self._tuplet_factor = Fraction(1)
        self._longest_layer = Fraction(0)

    @property
    def key(self) -> Key:
        """The key in force."""
        return self._accidentals.key

    @key.setter
    def key(self, key: Key) -> None:
        self._accidentals.key = key

    def take(self, token: re.Match[str], line: int) -> None:
        """Take in one token of music."""
        if token["note"]:
            self.num_notes += 1
            self._add(_times(token["note_length"]), token["note"])
        elif token["rest"]:
            self._add(_times(token["rest_length"]))
        elif token["chord"]:
            self.num_notes += 1
            chord = _QUOTED.sub("", token["chord"])
            first = _FIRST_LENGTH.search(chord)
            self._add(_times(first[1] if first else "") * _times(token["chord_length"]), chord)
            if "-" in chord:
                self._tie()
        elif token["broken"]:
            self._break(token["broken"])
        elif token["tuplet"]:
            self._start_tuplet(token["tuplet"])
        elif token["tie"]:
            self._tie()
        elif token["space"]:
            self._is_apart = True
        elif token["bar"] or token["ending"]:
            sign = token["bar"] or token["ending"]
            if sign in (":", "]") and self._length:
                raise ValueError(f"{sign!r} alone is no bar line")
            self.end_bar(is_section=sign != "|", line=line)
            if sign != "|":
                self.signs.append((len(self.bars), sign))
        elif token["bars_rest"]:
            self._rest_bars(int(token["num_bars"] or 1), line)
        elif token["overlay"]:
            self._longest_layer = max(self._longest_layer, self._length)
            self._length = Fraction(0)

    def end_bar(self, *, is_section: bool, line: int) -> None:
        """Close the bar at a bar line, or at the tune's end; one without music only passes on what the sign means."""
        if self._next_factor is not None:
            self._next_factor = None
            raise ValueError("a broken rhythm has no note after it")
        length = max(self._length, self._longest_layer)
        if length:
            wanted = self.metre.bar_length if self.metre else None
            notes = tuple(self._notes)
            signature = self._bar_signature
            self.bars.append(Bar(length, wanted, self._opens, is_section, line, notes, self._bar_key, signature))
            self._opens = is_section
        elif is_section:
            self._opens = True
            if self.bars:
                self.bars[-1] = replace(self.bars[-1], closes=True)
        self._length = self._longest_layer = Fraction(0)
        self._last = None
        self._notes = []
        self._is_apart = False
        self._accidentals.end_bar()

    def _add(self, times: Fraction, text: str = "") -> None:
        """Add a note or chord, or a rest, which has no text."""
        if not self._notes:
            self._bar_key, self._bar_signature = self.key, self.metre
        length = written = times * self.unit_length
        tuplet = 0
        if self._tuplet_notes:
            self._tuplet_notes -= 1
            tuplet = self._tuplet
            length *= self._tuplet_factor
        if self._next_factor is not None:
            length *= self._next_factor
            written *= self._next_factor
            self._next_factor = None
        pitches = self._accidentals.read(text)
        self._notes.append(Note(self._length, length, pitches, written, is_apart=self._is_apart, tuplet=tuplet))
        self._is_apart = False
        self._length += length
        self._last = length

    def _tie(self) -> None:
        """Let the last note go on in the next of its pitch."""
        if self._notes and self._notes[-1].pitches:
            self._notes[-1] = replace(self._notes[-1], is_tied=True)
            self._accidentals.tie(self._notes[-1].pitches)

    def _break(self, signs: str) -> None:
        """`a>b` dots a and halves b, `a<b` the other way round; a second and third sign halve again."""
        if self._last is None or self._next_factor is not None:
            raise ValueError("a broken rhythm has no note before it")
        short = Fraction(1, 2 ** len(signs))
        before, self._next_factor = (2 - short, short) if signs[0] == ">" else (short, 2 - short)
        self._length += self._last * (before - 1)
        last = self._notes[-1]
        self._notes[-1] = replace(last, length=last.length * before, written=last.written * before)
        self._last = None

    def _start_tuplet(self, sign: str) -> None:
        """`(p:q:r`: the next r notes last q in the time of p."""
        numbers = [int(part) if part else 0 for part in sign[1:].split(":")] + [0, 0]
        notes = numbers[0]
        by_metre = 3 if self.metre and self.metre.is_compound else 2
        usual = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}.get(notes, by_metre)
        self._tuplet = notes
        self._tuplet_factor = Fraction(numbers[1] or usual, notes)
        self._tuplet_notes = numbers[2] or notes

    def _rest_bars(self, num_bars: int, line: int) -> None:
        """`Z4` rests for four bars."""
        if not 1 <= num_bars <= _MAX_RESTED_BARS:
            raise ValueError(f"a rest must be 1 to {_MAX_RESTED_BARS} bars long, got {num_bars}")
        if self.metre is None:
            return
        for index in range(num_bars):
            length = self.metre.bar_length
            self._notes.append(Note(self._length, length, (), length))
            self._length += length
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
