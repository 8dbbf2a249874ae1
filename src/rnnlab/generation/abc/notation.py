"""Draw a tune as printed music, in SVG: staves, beams, repeats and endings.

Every note is a group with an id, so that a page can show which one sounds. Voices stand below each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rnnlab.generation.abc import glyphs
from rnnlab.generation.abc.engraving import Placed, draw_notes, draw_ties
from rnnlab.generation.abc.performance import Performance
from rnnlab.generation.abc.pitch import Key
from rnnlab.generation.abc.voice import Bar, Note, Voice

WIDTH = 960
_SYSTEM_HEIGHT = 104
_ABOVE = 46  # from a system's top to its staff: ledger lines, endings and tuplets stand there
_SHARP_STEPS, _FLAT_STEPS = (10, 7, 11, 8, 5, 9, 6), (6, 9, 5, 8, 4, 7, 3)


def draw(performance: Performance, prefix: str) -> str:
    """Return a tune's score as one `<svg>`.

    Args:
        performance: its music is drawn; what was passed over in reading it is not.
        prefix: the ids of its notes begin with it: `note_id`.
    """
    parts: list[str] = []
    top = 0
    for number, voice in enumerate(performance.music.voices):
        signs = _signs(voice)
        for system in _systems(voice):
            content = _draw_system(voice, number, system, signs, prefix)
            parts.append(f'<g transform="translate(0 {top + _ABOVE})">{content}</g>')
            top += _SYSTEM_HEIGHT
    return (
        f'<svg class="score" viewBox="0 0 {WIDTH} {top}" xmlns="http://www.w3.org/2000/svg" '
        f'stroke="currentColor" fill="currentColor" stroke-width="0">{"".join(parts)}</svg>'
    )


def note_id(prefix: str, place: tuple[int, int, int]) -> str:
    """The id of a written note: voice, bar, and its number in the bar."""
    return f"{prefix}-{'-'.join(map(str, place))}"


def _signs(voice: Voice) -> dict[int, str]:
    """The sign before each bar that has one; several become one."""
    found: dict[int, str] = {}
    for bar, sign in voice.signs:
        found[bar] = found.get(bar, "") + sign
    return found


def _systems(voice: Voice) -> Iterator[range]:
    """Divide a voice's bars into lines that fit; another key or metre stands at the head of a new line."""
    first, width = 0, _head_width(voice.bars[0], has_metre=True)
    for index, bar in enumerate(voice.bars):
        wanted = _bar_width(bar)
        is_changed = bar.key != voice.bars[index - 1].key or _has_new_metre(voice, index)
        if index > first and (width + wanted > WIDTH or is_changed):
            yield range(first, index)
            first, width = index, _head_width(bar, has_metre=_has_new_metre(voice, index))
        width += wanted
    yield range(first, len(voice.bars))


def _has_new_metre(voice: Voice, index: int) -> bool:
    """Whether a metre is to be shown before a bar."""
    signature = voice.bars[index].signature
    return signature is not None and (index == 0 or signature != voice.bars[index - 1].signature)


def _head_width(bar: Bar, *, has_metre: bool) -> float:
    """The room of clef, key and metre."""
    return 44 + 11 * len(bar.key.alterations) + (26 if has_metre else 0)


def _bar_width(bar: Bar) -> float:
    return 30 + sum(map(_note_width, bar.notes))


def _note_width(note: Note) -> float:
    room = 16 + 34 * float(note.length) ** 0.6
    return room + (11 if any(pitch.accidental is not None for pitch in note.pitches) else 0)


def _draw_system(voice: Voice, number: int, system: range, signs: dict[int, str], prefix: str) -> str:
    """Draw one line of a voice."""
    bars = [voice.bars[index] for index in system]
    has_metre = _has_new_metre(voice, system.start)
    start = _head_width(bars[0], has_metre=has_metre)
    natural = sum(map(_bar_width, bars))
    stretch = (WIDTH - 8 - start) / natural
    if stretch > (1.25 if system.stop == len(voice.bars) else 2):
        stretch = 1.0  # the last line may be short, and so may one before another key
    end = start + natural * stretch
    parts = [f'<path d="M0 {y}H{end:.1f}" stroke-width="1" opacity=".55"/>' for y in range(0, 41, 10)]
    parts += [glyphs.clef(18), _draw_key(bars[0].key)]
    if has_metre:
        parts.append(_draw_metre(bars[0], start - 16))
    sign = signs.get(system.start, "")
    if system.start == 0 and sign:
        parts.append(glyphs.bar_line(start + 2, sign))
    x = start
    previous: Placed | None = None
    for index, bar in zip(system, bars, strict=True):
        parts.append(_draw_ending(sign, x + 3))
        placed, x = _place(bar, x, stretch, prefix, number, index)
        parts += draw_notes(placed) + draw_ties(previous, placed)
        previous = placed[-1] if placed else None
        sign = signs.get(index + 1, "")
        parts.append(glyphs.bar_line(x, sign or ("|]" if index + 1 == len(voice.bars) else "")))
    return "".join(parts)


def _place(bar: Bar, x: float, stretch: float, prefix: str, voice: int, index: int) -> tuple[list[Placed], float]:
    """Give each note of a bar its x; return where the bar ends, too."""
    placed = []
    end = x + _bar_width(bar) * stretch
    x += 16 * stretch
    for number, note in enumerate(bar.notes):
        room = _note_width(note) * stretch
        shift = 11 if any(pitch.accidental is not None for pitch in note.pitches) else 0
        placed.append(Placed(note, x + shift, note_id(prefix, (voice, index, number))))
        x += room
    return placed, end


def _draw_key(key: Key) -> str:
    """The key signature beside the clef."""
    parts, x = "", 47.0
    for order, steps, sign in (("FCGDAEB", _SHARP_STEPS, 1), ("BEADGCF", _FLAT_STEPS, -1)):
        for letter, step in zip(order, steps, strict=True):
            if (alteration := key.alterations.get(letter, 0)) * sign > 0:
                parts += glyphs.accidental(x, step, alteration)
                x += 11
    return parts


def _draw_metre(bar: Bar, x: float) -> str:
    assert bar.signature is not None
    return "".join(
        f'<text class="metre" x="{x:.1f}" y="{y}" text-anchor="middle" font-size="24" font-weight="bold" '
        f'font-family="serif">{number}</text>'
        for y, number in ((18.5, bar.signature.beats), (38.5, bar.signature.beat))
    )


def _digits(sign: str) -> str:
    match = re.search(r"\d[\d,\-.]*", sign)
    return match[0].rstrip(".,-") if match else ""


def _draw_ending(sign: str, x: float) -> str:
    """The bracket of a first or second ending."""
    if not (numbers := _digits(sign)):
        return ""
    return (
        f'<path d="M{x:.1f} -22v-14h56" fill="none" stroke-width="1.1"/>'
        f'<text x="{x + 5:.1f}" y="-24" font-size="12" font-family="sans-serif">{numbers}</text>'
    )
