"""What a written note sounds: key signatures, accidentals, and semitones as MIDI numbers them (middle C is 60).

Source: the ABC notation standard 2.1 (abcnotation.com), sections 3.1.14 (keys), 4.1, 4.2 (pitch, accidentals) and
11.3 (accidentals hold in every octave).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LETTERS = "CDEFGAB"
_SEMITONES = (0, 2, 4, 5, 7, 9, 11)
_MIDDLE_C = 60
_SHARP_ORDER = "FCGDAEB"
# Fifths above a major key of the same tonic.
_MODES = {"maj": 0, "ion": 0, "lyd": 1, "mix": -1, "dor": -2, "min": -3, "m": -3, "aeo": -3, "phr": -4, "loc": -5}
_ACCIDENTALS = {"^": 1, "^^": 2, "_": -1, "__": -2, "=": 0}
_PITCH = re.compile(r"(\^{1,2}|_{1,2}|=)?([A-Ga-g])([,']*)")
_TONIC = re.compile(r"([A-G])([#b♯♭]?)\s*([A-Za-z]*)")
_EXPLICIT = re.compile(r"(?<![\w])(\^{1,2}|_{1,2}|=)([A-Ga-g])")


@dataclass(frozen=True, slots=True)
class Pitch:
    """One written pitch.

    Attributes:
        step: place on the staff: steps of the scale above middle C.
        accidental: what is written before it, in semitones; None when nothing is.
        semitone: what sounds, as MIDI numbers it: middle C is 60.
    """

    step: int
    accidental: int | None
    semitone: int


@dataclass(frozen=True, slots=True)
class Key:
    """A key signature.

    Attributes:
        fifths: sharps if positive, flats if negative.
        alterations: semitones by letter, those that are altered.
        is_minor: whether the mode is minor.
    """

    fifths: int
    alterations: dict[str, int]
    is_minor: bool = False


def read_key(value: str) -> Key:
    """Return the signature of a key that `read.parse_key` accepts: "G", "Bbm", "D Mix ^g", "Hp" or "none"."""
    value = value.strip()
    if value.startswith(("HP", "Hp")):  # Highland pipes sound F and C sharp whether it is written or not
        return Key(2, {"F": 1, "C": 1})
    tonic = _TONIC.match(value)
    if value.startswith("none") or tonic is None:
        return Key(0, {})
    mode = tonic[3].lower()[:3]
    if mode == "exp":
        return Key(0, _explicit(value))
    fifths = _SHARP_ORDER.index(tonic[1]) - 1 + {"": 0, "#": 7, "♯": 7, "b": -7, "♭": -7}[tonic[2]]
    fifths += _MODES.get(mode, 0)
    alterations: dict[str, int] = {}
    for index in range(abs(fifths)):
        letter = (_SHARP_ORDER if fifths > 0 else _SHARP_ORDER[::-1])[index % 7]
        alterations[letter] = alterations.get(letter, 0) + (1 if fifths > 0 else -1)
    return Key(fifths, alterations | _explicit(value[tonic.end() :]), is_minor=mode in ("min", "m", "aeo"))


def _explicit(text: str) -> dict[str, int]:
    """Accidentals written beside a key."""
    return {letter.upper(): _ACCIDENTALS[sign] for sign, letter in _EXPLICIT.findall(text)}


class Accidentals:
    """What the accidentals of a bar do to the notes after them: each holds for its letter in every octave.

    A note tied over a bar line keeps its own.
    """

    def __init__(self, key: Key) -> None:
        """Start a bar in a key."""
        self.key = key
        self._bar: dict[str, int] = {}
        self._tied: dict[int, int] = {}

    def end_bar(self) -> None:
        """Forget the bar's accidentals."""
        self._bar.clear()

    def tie(self, pitches: Iterable[Pitch]) -> None:
        """Remember what a tie carries to the next note."""
        self._tied = {pitch.step: pitch.semitone - _natural(pitch.step) for pitch in pitches}

    def read(self, text: str) -> tuple[Pitch, ...]:
        """Return the pitches in a note, `^c'`, or in a chord, `[CEG]`, in the order they are written."""
        found = []
        for sign, letter, octaves in _PITCH.findall(text):
            step = LETTERS.index(letter.upper()) + 7 * (letter.islower() + octaves.count("'") - octaves.count(","))
            written = _ACCIDENTALS[sign] if sign else None
            if written is not None:
                self._bar[letter.upper()] = written
            in_key = self.key.alterations.get(letter.upper(), 0)
            alteration = self._bar.get(letter.upper(), self._tied.get(step, in_key))
            found.append(Pitch(step, written, _natural(step) + alteration))
        self._tied = {}
        return tuple(found)


def _natural(step: int) -> int:
    """The semitone of a place on the staff without accidentals."""
    return _MIDDLE_C + 12 * (step // 7) + _SEMITONES[step % 7]
