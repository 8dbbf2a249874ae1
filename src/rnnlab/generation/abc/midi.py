"""Write a played tune as a Standard MIDI File of format 0: one track, 480 ticks a quarter note.

Source: The Complete MIDI 1.0 Detailed Specification, Standard MIDI Files 1.0.
"""

from __future__ import annotations

from fractions import Fraction

from rnnlab.generation.abc.performance import Performance

TICKS = 480  # a quarter note: 3, 5 and 16 go into it
_VELOCITY = 96
_PROGRAM = 46  # orchestral harp, counted from 0


def midi_bytes(performance: Performance) -> bytes:
    """Return the file's content: title, tempo, key, metre and the notes of all voices on one channel."""
    events: list[tuple[int, int, int, bytes]] = []  # tick, ends before beginnings, order, message
    for order, (start, end, semitone) in enumerate(_note_spans(performance)):
        events.append((start, 1, order, bytes((0x90, semitone, _VELOCITY))))
        events.append((end, 0, order, bytes((0x80, semitone, 0))))
    track = b"".join(b"\0" + message for message in _header_messages(performance))
    now = 0
    for tick, _, _, message in sorted(events):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\0" + _meta(0x2F, b"")
    header = b"MThd" + (6).to_bytes(4, "big") + b"".join(number.to_bytes(2, "big") for number in (0, 1, TICKS))
    return header + b"MTrk" + len(track).to_bytes(4, "big") + track


def _note_spans(performance: Performance) -> list[tuple[int, int, int]]:
    """First and last tick of each note and its semitone; one that begins again while it sounds ends first."""
    spans: list[list[int]] = []
    sounding: dict[int, list[int]] = {}
    for note in performance.notes:
        start = _ticks(note.start)
        before = sounding.get(note.semitone)
        if before is not None and before[0] == start:
            before[1] = max(before[1], _ticks(note.start + note.length))  # two voices on one note
            continue
        if before is not None:
            before[1] = min(before[1], start)
        span = [start, max(_ticks(note.start + note.length), start + 1), note.semitone]
        sounding[note.semitone] = span
        spans.append(span)
    return [(start, end, semitone) for start, end, semitone in spans]


def _header_messages(performance: Performance) -> list[bytes]:
    """What stands at the beginning."""
    quarter = round(performance.whole_note / 4 * 1e6)
    key = performance.key
    messages = [
        _meta(0x03, performance.tune.title.encode()),
        _meta(0x51, min(quarter, 0xFFFFFF).to_bytes(3, "big")),
        _meta(0x59, bytes((max(-7, min(7, key.fifths)) & 0xFF, key.is_minor))),
        bytes((0xC0, _PROGRAM)),
    ]
    metre = performance.tune.metre
    if metre is not None and metre.beats < 256 and metre.beat & (metre.beat - 1) == 0:
        messages.append(_meta(0x58, bytes((metre.beats, metre.beat.bit_length() - 1, 24, 8))))
    return messages


def _meta(kind: int, content: bytes) -> bytes:
    return bytes((0xFF, kind)) + _variable_length(len(content)) + content


def _variable_length(number: int) -> bytes:
    """Seven bits a byte, the highest first; all but the last have the eighth set."""
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(number & 0x7F | 0x80)
    return bytes(reversed(groups))


def _ticks(whole_notes: Fraction) -> int:
    return round(whole_notes * 4 * TICKS)
