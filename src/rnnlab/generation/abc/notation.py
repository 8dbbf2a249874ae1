"""Draw a tune as printed music, in SVG: staves, beams, repeats and endings.

Every note is a group with an id, so that a page can show which one sounds. Voices stand below each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rnnlab.generation.abc import glyphs
from rnnlab.generation.abc.performance import Performance
from rnnlab.generation.abc.pitch import Key
from rnnlab.generation.abc.voice import Bar, Note, Voice

WIDTH = 960
_SYSTEM_HEIGHT = 104
_ABOVE = 46  # from a system's top to its staff: ledger lines, endings and tuplets stand there
_SHARP_STEPS, _FLAT_STEPS = (10, 7, 11, 8, 5, 9, 6), (6, 9, 5, 8, 4, 7, 3)


@dataclass(slots=True)
class _Placed:
    """A note with its place in a system."""

    note: Note
    x: float
    identifier: str

    @property
    def steps(self) -> list[int]:
        return [pitch.step for pitch in self.note.pitches]


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
    previous: _Placed | None = None
    for index, bar in zip(system, bars, strict=True):
        parts.append(_draw_ending(sign, x + 3))
        placed, x = _place(bar, x, stretch, prefix, number, index)
        parts += _draw_notes(placed) + _draw_ties(previous, placed)
        previous = placed[-1] if placed else None
        sign = signs.get(index + 1, "")
        parts.append(glyphs.bar_line(x, sign or ("|]" if index + 1 == len(voice.bars) else "")))
    return "".join(parts)


def _place(bar: Bar, x: float, stretch: float, prefix: str, voice: int, index: int) -> tuple[list[_Placed], float]:
    """Give each note of a bar its x; return where the bar ends, too."""
    placed = []
    end = x + _bar_width(bar) * stretch
    x += 16 * stretch
    for number, note in enumerate(bar.notes):
        room = _note_width(note) * stretch
        shift = 11 if any(pitch.accidental is not None for pitch in note.pitches) else 0
        placed.append(_Placed(note, x + shift, note_id(prefix, (voice, index, number))))
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


def _draw_notes(placed: list[_Placed]) -> list[str]:
    """Draw the notes of a bar, those under one beam together."""
    parts = []
    for group in _beam_groups(placed):
        if len(group) > 1:
            parts.append(_draw_beamed(group))
        else:
            parts.append(_draw_single(group[0]))
    return parts + _draw_tuplets(placed)


def _beam_groups(placed: list[_Placed]) -> Iterator[list[_Placed]]:
    """Notes shorter than a quarter that are written without a blank between them share a beam."""
    group: list[_Placed] = []
    for item in placed:
        can_beam = bool(item.note.pitches) and item.note.written < Fraction(1, 4)
        if group and (not can_beam or item.note.is_apart):
            yield group
            group = []
        if can_beam:
            group.append(item)
        else:
            yield [item]
    if group:
        yield group


def _draw_single(item: _Placed) -> str:
    """A note with its own stem and flags, or a rest."""
    base, num_dots = glyphs.shape_of(item.note.written)
    if not item.note.pitches:
        return f'<g id="{item.identifier}">{glyphs.rest(item.x, base)}{glyphs.dots(item.x, 7, num_dots)}</g>'
    is_up = _stem_up([item])
    body = _heads(item)
    if base < 1:
        x, start = _stem_base(item, is_up)
        end = (glyphs.y_of(max(item.steps)) - glyphs.STEM) if is_up else (glyphs.y_of(min(item.steps)) + glyphs.STEM)
        body += f'<path d="M{x:.1f} {start:.1f}V{end:.1f}" stroke-width="1.3"/>'
        body += glyphs.flag(x, end, is_up, glyphs.num_flags(base))
    return f'<g id="{item.identifier}">{body}</g>'


def _draw_beamed(group: list[_Placed]) -> str:
    """Notes under one beam, which leans as far as the notes rise, but little."""
    is_up = _stem_up(group)
    side = max if is_up else min
    reach = [glyphs.y_of(side(item.steps)) + (-glyphs.STEM if is_up else glyphs.STEM) for item in group]
    lean = max(-9.0, min(9.0, (reach[-1] - reach[0]) / 2))
    xs = [_stem_base(item, is_up)[0] for item in group]
    span = max(xs[-1] - xs[0], 1)
    slant = [lean * (x - xs[0]) / span for x in xs]
    # Every stem is at least as long as a lone one.
    offsets = [y - s for y, s in zip(reach, slant, strict=True)]
    level = min(offsets) if is_up else max(offsets)
    ends = [level + s for s in slant]
    body = ""
    for item, x, end in zip(group, xs, ends, strict=True):
        start = _stem_base(item, is_up)[1]
        stem = f'<path d="M{x:.1f} {start:.1f}V{end:.1f}" stroke-width="1.3"/>'
        body += f'<g id="{item.identifier}">{_heads(item)}{stem}</g>'
    counts = [glyphs.num_flags(glyphs.shape_of(item.note.written)[0]) for item in group]
    for beam in range(max(counts)):
        shift = beam * (7 if is_up else -7)
        for left, right in _beam_spans(counts, xs, beam):
            y_left = level + lean * (left - xs[0]) / span + shift
            y_right = level + lean * (right - xs[0]) / span + shift
            body += f'<path d="M{left:.1f} {y_left:.1f}L{right:.1f} {y_right:.1f}" stroke-width="4.6"/>'
    return body


def _beam_spans(counts: list[int], xs: list[float], beam: int) -> Iterator[tuple[float, float]]:
    """From where to where one level of beams reaches; a note alone on its level has a stub."""
    index = 0
    while index < len(counts):
        if counts[index] <= beam:
            index += 1
            continue
        last = index
        while last + 1 < len(counts) and counts[last + 1] > beam:
            last += 1
        if last > index:
            yield xs[index] - 0.6, xs[last] + 0.6
        elif index > 0:
            yield xs[index] - 8, xs[index]
        else:
            yield xs[index], xs[index] + 8
        index = last + 1


def _stem_up(group: list[_Placed]) -> bool:
    steps = [step for item in group for step in item.steps]
    return max(steps) + min(steps) < 2 * glyphs.MIDDLE_LINE


def _stem_base(item: _Placed, is_up: bool) -> tuple[float, float]:
    """Where a stem meets its head."""
    return (
        (item.x + 5.4, glyphs.y_of(min(item.steps)) - 1)
        if is_up
        else (
            item.x - 5.4,
            glyphs.y_of(max(item.steps)) + 1,
        )
    )


def _heads(item: _Placed) -> str:
    """Heads, accidentals, dots and ledger lines of a note or chord."""
    base, num_dots = glyphs.shape_of(item.note.written)
    body = glyphs.ledger_lines(item.x, item.steps)
    for pitch in item.note.pitches:
        body += glyphs.head(item.x, pitch.step, base) + glyphs.dots(item.x, pitch.step, num_dots)
        if pitch.accidental is not None:
            body += glyphs.accidental(item.x - 7, pitch.step, pitch.accidental)
    return body


def _draw_ties(previous: _Placed | None, placed: list[_Placed]) -> list[str]:
    """Arcs from a note to the next it goes on in."""
    parts = []
    items = [*([previous] if previous else []), *placed]
    for left, right in pairwise(items):
        for step in set(left.steps) & set(right.steps) if left.note.is_tied else ():
            y, bow = (glyphs.y_of(step) + 7, 8) if step < glyphs.MIDDLE_LINE else (glyphs.y_of(step) - 7, -8)
            start, width = left.x + 4, right.x - left.x - 8
            arc = f"M{start:.1f} {y:.1f}q{width / 2:.1f} {bow} {width:.1f} 0"
            parts.append(f'<path d="{arc}" fill="none" stroke-width="1.6"/>')
    return parts


def _draw_tuplets(placed: list[_Placed]) -> list[str]:
    """The number above each run of a tuplet's notes."""
    parts = []
    index = 0
    while index < len(placed):
        count = placed[index].note.tuplet
        if not count:
            index += 1
            continue
        group = placed[index : index + count]
        group = [item for item in group if item.note.tuplet == count]
        steps = [step for item in group for step in item.steps] or [glyphs.MIDDLE_LINE]
        top = min(glyphs.y_of(max(steps)), 0) - (glyphs.STEM - 6 if _stem_up_of(steps) else 0)
        x = (group[0].x + group[-1].x) / 2
        parts.append(
            f'<text x="{x:.1f}" y="{min(top, 0) - 8:.1f}" text-anchor="middle" font-size="12" font-style="italic" '
            f'font-family="serif">{count}</text>'
        )
        index += len(group)
    return parts


def _stem_up_of(steps: list[int]) -> bool:
    return max(steps) + min(steps) < 2 * glyphs.MIDDLE_LINE
