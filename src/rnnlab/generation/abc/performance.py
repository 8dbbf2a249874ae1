"""How a tune is played: repeats and endings in their order, ties joined, lengths in seconds.

Grace notes, slurs, chord symbols and ornaments are not played.

Source: the ABC notation standard 2.1 (abcnotation.com), sections 3.1.8 (tempo), 4.8 to 4.11 (repeats, ties).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from rnnlab.data.abc import header_field
from rnnlab.generation.abc.music import Music, read_music
from rnnlab.generation.abc.pitch import Key, read_key
from rnnlab.generation.abc.read import Metre, Tune, read_tune
from rnnlab.generation.abc.voice import Voice

_TEMPO = re.compile(r"(?:(\d+)/(\d+)\s*=\s*)?(\d+)")
_BEATS_PER_MINUTE = 120
# Repeats within repeats cannot be written; a text of nothing but endings must end all the same.
_MAX_BARS = 2000
_MAX_PASSES = 8
# A model may write A999999999; an hour of sound is not what it is asked for.
_MAX_LENGTH = 500


@dataclass(frozen=True, slots=True)
class Played:
    """One note that sounds.

    Attributes:
        start: when, in whole notes from the beginning.
        length: how long, in whole notes.
        semitone: as MIDI numbers it: middle C is 60.
        place: where it is written: voice, bar, and number within the bar, all from 0.
    """

    start: Fraction
    length: Fraction
    semitone: int
    place: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Performance:
    """A tune as it is played.

    Attributes:
        tune: its header.
        music: what is written.
        notes: in the order they begin.
        length: of all, in whole notes.
        whole_note: how long a whole note lasts, in seconds.
    """

    tune: Tune
    music: Music
    notes: tuple[Played, ...]
    length: Fraction
    whole_note: float

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return float(self.length) * self.whole_note

    @property
    def key(self) -> Key:
        """The key of the header."""
        return read_key(self.tune.key)


def perform(tune: str) -> Performance:
    """Play one tune; what is no music in it is passed over.

    Raises:
        ValueError: a header without a key, or with a metre, unit length or key that cannot be read; no note that can be
            heard, or a tune that takes longer than anyone listens.
    """
    header = read_tune(tune)
    music = read_music(
        header.body, metre=header.metre, unit_length=header.unit_length, key=header.key, skip_errors=True
    )
    notes: list[Played] = []
    length = Fraction(0)
    for number, voice in enumerate(music.voices):
        played, voice_length = _play_voice(voice, number)
        notes += played
        length = max(length, voice_length)
    if not notes:
        raise ValueError("there is no note in it")
    if length > _MAX_LENGTH:
        raise ValueError(f"it lasts more than {_MAX_LENGTH} whole notes")
    notes.sort(key=lambda note: (note.start, -note.semitone))
    return Performance(header, music, tuple(notes), length, whole_note_seconds(tune, header.metre))


def whole_note_seconds(tune: str, metre: Metre | None) -> float:
    """How long a whole note lasts, in seconds: by `Q:`, else by 120 beats a minute, of 3/8 each in 6/8 and its like."""
    match = _TEMPO.search(header_field(tune, "Q") or "")
    beat = Fraction(3, 8) if metre is not None and metre.is_compound and metre.beat == 8 else Fraction(1, 4)
    beats_per_minute = _BEATS_PER_MINUTE
    if match and int(match[3]) and int(match[2] or 1) and int(match[1] or 1):
        beats_per_minute = min(max(int(match[3]), 20), 400)
        if match[1]:
            beat = Fraction(int(match[1]), int(match[2]))
    return 60 / beats_per_minute / float(beat)


def unrolled(voice: Voice) -> Iterator[int]:
    """Yield the numbers of a voice's bars as they are played, from 0.

    Each repeat is played as often as its highest ending says, at least twice. One without a beginning goes back to the
    last double bar or end of a repeat.
    """
    signs = _read_signs(voice)
    start, passes = 0, 1  # the bar that a repeat goes back to, and which time its section is played
    is_begun = False  # by "|:", which double bars in the section do not change
    in_ending = False
    bar, skipping, played = 0, False, 0
    at_signs = True
    while played < _MAX_BARS:
        for sign in signs.get(bar, ()) if at_signs else ():
            if sign.closes and not skipping:
                if passes < _num_passes(signs, start):
                    passes += 1
                    bar, at_signs = start, False
                    break
                start, passes, is_begun, in_ending = bar, 1, False, False
            is_over = in_ending and passes > 1
            if sign.opens or (sign.is_double and not skipping and (is_over or not is_begun)):
                start, passes, skipping, is_begun, in_ending = bar, 1, False, sign.opens, False
            if sign.endings:
                skipping = passes not in sign.endings
                in_ending = not skipping
            elif sign.closes or sign.opens:
                skipping = False
        if not at_signs:
            # The signs at a repeat's beginning were read the first time, but an ending may stand there.
            here = [sign for sign in signs.get(bar, ()) if sign.endings]
            skipping = bool(here) and passes not in here[-1].endings
            at_signs = True
        if bar >= len(voice.bars):
            return
        if not skipping:
            yield bar
            played += 1
        bar += 1


@dataclass(frozen=True, slots=True)
class _Sign:
    """What a bar line says about repeats."""

    closes: bool
    opens: bool
    is_double: bool
    endings: frozenset[int]


def _read_signs(voice: Voice) -> dict[int, list[_Sign]]:
    """The signs before each bar."""
    found: dict[int, list[_Sign]] = {}
    for bar, text in voice.signs:
        line, numbers = re.match(r"([^\d]*)(.*)", text).groups()  # pyright: ignore[reportOptionalMemberAccess]
        closes = line.startswith(":")
        opens = line.endswith(":") and line != ":"
        is_double = "||" in line or "]" in line or "[|" in line
        found.setdefault(bar, []).append(_Sign(closes, opens, is_double, _endings(numbers)))
    return found


def _endings(text: str) -> frozenset[int]:
    """The numbers of an ending: "1", "1,3" or "1-3"."""
    numbers: set[int] = set()
    for part in re.split(r"[,.]", text):
        first, _, last = part.partition("-")
        if first:
            low = int(first)
            numbers.update(range(low, min(int(last or first), low + 16) + 1))
    return frozenset(numbers)


def _num_passes(signs: dict[int, list[_Sign]], start: int) -> int:
    """How often the section from a bar on is played: as its highest ending says, also one that comes later."""
    numbers: set[int] = set()
    for bar in sorted(bar for bar in signs if bar >= start):
        endings = {number for sign in signs[bar] for number in sign.endings}
        if bar > start:
            if numbers & endings or any(sign.opens for sign in signs[bar]):
                break  # the next section
            if not endings and any(sign.closes or sign.is_double for sign in signs[bar]):
                break
        numbers |= endings
    return min(max({2, *numbers}), _MAX_PASSES)


def _play_voice(voice: Voice, number: int) -> tuple[list[Played], Fraction]:
    """Play one voice; return its notes, and how long it lasts in whole notes."""
    notes: list[Played] = []
    held: dict[int, int] = {}  # semitone -> its note in `notes`, which a tie holds on
    now = Fraction(0)
    for index in unrolled(voice):
        bar = voice.bars[index]
        for place, note in enumerate(bar.notes):
            start = now + note.start
            still_held: dict[int, int] = {}
            # Beyond MIDI's 128 notes nobody hears anything.
            for semitone in {pitch.semitone for pitch in note.pitches if 0 <= pitch.semitone <= 127}:
                before = held.get(semitone)
                if before is not None and notes[before].start + notes[before].length == start:
                    notes[before] = replace(notes[before], length=notes[before].length + note.length)
                else:
                    before = len(notes)
                    notes.append(Played(start, note.length, semitone, (number, index, place)))
                if note.is_tied:
                    still_held[semitone] = before
            held = still_held
        now += bar.length
    return notes, now
