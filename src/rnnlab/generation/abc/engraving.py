"""Draw the notes of a bar in SVG: heads, stems, flags and beams, rests, ties and the numbers of tuplets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from rnnlab.generation.abc import glyphs
from rnnlab.generation.abc.voice import Note


@dataclass(slots=True)
class Placed:
    """A note with its place on a line of music.

    Attributes:
        note: what is written.
        x: the middle of its head.
        identifier: of its group.
    """

    note: Note
    x: float
    identifier: str

    @property
    def steps(self) -> list[int]:
        """Places on the staff of its pitches."""
        return [pitch.step for pitch in self.note.pitches]


def draw_notes(placed: list[Placed]) -> list[str]:
    """Draw the notes of a bar, those under one beam together."""
    parts = []
    for group in _beam_groups(placed):
        if len(group) > 1:
            parts.append(_draw_beamed(group))
        else:
            parts.append(_draw_single(group[0]))
    return parts + _draw_tuplets(placed)


def _beam_groups(placed: list[Placed]) -> Iterator[list[Placed]]:
    """Notes shorter than a quarter that are written without a blank between them share a beam."""
    group: list[Placed] = []
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


def _draw_single(item: Placed) -> str:
    """A note with its own stem and flags, or a rest."""
    base, num_dots = glyphs.shape_of(item.note.written)
    if not item.note.pitches:
        return f'<g id="{item.identifier}">{glyphs.rest(item.x, base)}{glyphs.dots(item.x, 7, num_dots)}</g>'
    is_up = _points_up(item.steps)
    body = _heads(item)
    if base < 1:
        x, start = _stem_base(item, is_up)
        end = (glyphs.y_of(max(item.steps)) - glyphs.STEM) if is_up else (glyphs.y_of(min(item.steps)) + glyphs.STEM)
        body += f'<path d="M{x:.1f} {start:.1f}V{end:.1f}" stroke-width="1.3"/>'
        body += glyphs.flag(x, end, is_up, glyphs.num_flags(base))
    return f'<g id="{item.identifier}">{body}</g>'


def _draw_beamed(group: list[Placed]) -> str:
    """Notes under one beam, which leans as far as the notes rise, but little."""
    is_up = _points_up([step for item in group for step in item.steps])
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


def _stem_base(item: Placed, is_up: bool) -> tuple[float, float]:
    """Where a stem meets its head."""
    return (
        (item.x + 5.4, glyphs.y_of(min(item.steps)) - 1)
        if is_up
        else (
            item.x - 5.4,
            glyphs.y_of(max(item.steps)) + 1,
        )
    )


def _heads(item: Placed) -> str:
    """Heads, accidentals, dots and ledger lines of a note or chord."""
    base, num_dots = glyphs.shape_of(item.note.written)
    body = glyphs.ledger_lines(item.x, item.steps)
    for pitch in item.note.pitches:
        body += glyphs.head(item.x, pitch.step, base) + glyphs.dots(item.x, pitch.step, num_dots)
        if pitch.accidental is not None:
            body += glyphs.accidental(item.x - 7, pitch.step, pitch.accidental)
    return body


def draw_ties(previous: Placed | None, placed: list[Placed]) -> list[str]:
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


def _draw_tuplets(placed: list[Placed]) -> list[str]:
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
        top = min(glyphs.y_of(max(steps)), 0) - (glyphs.STEM - 6 if _points_up(steps) else 0)
        x = (group[0].x + group[-1].x) / 2
        parts.append(
            f'<text x="{x:.1f}" y="{min(top, 0) - 8:.1f}" text-anchor="middle" font-size="12" font-style="italic" '
            f'font-family="serif">{count}</text>'
        )
        index += len(group)
    return parts


def _points_up(steps: list[int]) -> bool:
    """Whether stems go up: they do where the notes stand low."""
    return max(steps) + min(steps) < 2 * glyphs.MIDDLE_LINE
