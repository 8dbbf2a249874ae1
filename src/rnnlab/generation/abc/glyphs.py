"""The signs of printed music as SVG, drawn here with lines and curves: no font is needed.

Units: ten to a staff space, y downwards. A place on the staff is a step above middle C, as in `pitch.Pitch`.
"""

from __future__ import annotations

from fractions import Fraction

SPACE = 10
TOP_LINE, BOTTOM_LINE, MIDDLE_LINE = 10, 2, 6  # steps of the treble staff: F, E and B
STEM = 33


def y_of(step: int) -> float:
    """Where a step stands, 0 at the staff's top line."""
    return (TOP_LINE - step) * SPACE / 2


def clef(x: float) -> str:
    """A treble clef; its curl goes round the G."""
    curl = "M0 5C-5 4-6-5 1-7C9-9 13 1 8 7C2 13-12 11-12-2C-12-14 6-22 7-36C7-44 3-47 1-46"
    stem = "C-4-43-4-34-3-28L4 17C5 24-6 26-7 19"
    return (
        f'<g transform="translate({x:.1f} {y_of(4):.1f})"><path d="{curl}{stem}" fill="none" stroke-width="2.3" '
        'stroke-linecap="round"/><circle cx="-4.6" cy="18.6" r="2.9"/></g>'
    )


def accidental(x: float, step: int, alteration: int) -> str:
    """A sharp, flat or natural, or a double one, that ends left of x."""
    y = y_of(step)
    if alteration == 2:
        return f'<path d="M{x - 9:.1f} {y - 3.5:.1f}l7 7m0-7l-7 7" stroke-width="2.2"/>'
    if alteration == 1:
        return (
            f'<path d="M{x - 8:.1f} {y - 12:.1f}v26m4.6-28v26" stroke-width="1.2"/>'
            f'<path d="M{x - 11:.1f} {y - 2.6:.1f}l10.6-3.2m-10.6 11l10.6-3.2" stroke-width="2.6"/>'
        )
    if alteration == 0:
        return (
            f'<path d="M{x - 8:.1f} {y - 13:.1f}v20m6-14v20" stroke-width="1.2"/>'
            f'<path d="M{x - 8:.1f} {y - 3:.1f}l6-2m-6 10l6-2" stroke-width="2.4"/>'
        )
    flat = "".join(
        f'<path d="M{x - 8 - shift:.1f} {y - 16:.1f}v20.5c4-2 7-5 7-8c0-4-5-3.6-7 0" fill="none" stroke-width="1.5"/>'
        for shift in ((0, 6) if alteration == -2 else (0,))
    )
    return flat


def head(x: float, step: int, base: Fraction) -> str:
    """A note's head: open from a half note on."""
    y = y_of(step)
    if base >= Fraction(1, 2):
        rx = 6.2 if base >= 1 else 5.4
        return (
            f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{rx}" ry="3.9" fill="none" stroke-width="1.9" '
            f'transform="rotate(-18 {x:.1f} {y:.1f})"/>'
        )
    return f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="6" ry="4.3" transform="rotate(-20 {x:.1f} {y:.1f})"/>'


def ledger_lines(x: float, steps: list[int]) -> str:
    """Short lines for notes above and below the staff."""
    lines = [*range(TOP_LINE + 2, max(steps) + 1, 2), *range(BOTTOM_LINE - 2, min(steps) - 1, -2)]
    return "".join(f'<path d="M{x - 10:.1f} {y_of(step):.1f}h20" stroke-width="1.1"/>' for step in lines)


def flag(x: float, y: float, is_up: bool, count: int) -> str:
    """The flags of a lone eighth note or shorter, at its stem's end."""
    turn = 1 if is_up else -1
    return "".join(
        f'<path d="M{x:.1f} {y + turn * index * 8:.1f}c1 {turn * 8} 9 {turn * 10} 7 {turn * 21}c0 {turn * -7} -4 '
        f'{turn * -10} -7 {turn * -12}z"/>'
        for index in range(count)
    )


def dots(x: float, step: int, count: int) -> str:
    """Dots behind a note; one on a line would be hidden by it."""
    y = y_of(step + (step % 2 == 0))
    return "".join(f'<circle cx="{x + 11 + 5 * index:.1f}" cy="{y:.1f}" r="1.9"/>' for index in range(count))


def rest(x: float, base: Fraction) -> str:
    """A rest in the middle of the staff."""
    if base >= Fraction(1, 2):
        y = 10 if base >= 1 else 15
        return f'<rect x="{x - 6:.1f}" y="{y}" width="12" height="5"/>'
    if base >= Fraction(1, 4):
        zigzag = "l6 8c-5 5-3 6 3 11c-7-2-8 2-3 7c-9-4-8-11-1-10l-6-7c5-5 4-5 1-9z"
        return f'<path d="M{x - 3:.1f} 6{zigzag}" stroke-width="1"/>'
    count = num_flags(base)
    hooks = "".join(
        f'<circle cx="{x - 3.5 - index * 1.6:.1f}" cy="{14 + 8 * index}" r="2.5"/>'
        f'<path d="M{x - 3.5 - index * 1.6:.1f} {16 + 8 * index}q5 1 8.4-4" fill="none" stroke-width="1.4"/>'
        for index in range(count)
    )
    return hooks + f'<path d="M{x + 4.9:.1f} 12l{-3 - 1.8 * count} {12 + 8 * count}" stroke-width="1.5"/>'


def bar_line(x: float, sign: str) -> str:
    """A bar line that ends at x: plain, double, or a repeat with its dots."""
    sign = sign.rstrip("0123456789,-.[")
    if sign in ("", "|"):
        return _line(x, 1.3)
    closes, opens = sign.startswith(":"), sign.endswith(":")
    if not closes and not opens:
        return _line(x - 5, 1.3) + (_line(x, 1.3) if "]" not in sign and "[|" not in sign else _line(x, 4))
    parts = _line(x - (4 if opens else 0), 4)
    if closes:
        parts += _line(x - 6 - (4 if opens else 0), 1.3) + _repeat_dots(x - 12 - (4 if opens else 0))
    if opens:
        parts += _line(x + 2, 1.3) + _repeat_dots(x + 8)
    return parts


def num_flags(base: Fraction) -> int:
    """Flags or beams of a note: one for an eighth, two for a sixteenth."""
    count = 0
    while base < Fraction(1, 4) and count < 5:
        base *= 2
        count += 1
    return count


def shape_of(length: Fraction) -> tuple[Fraction, int]:
    """The note that is written for a length: its plain value, and how many dots lengthen it."""
    base = Fraction(2)
    while base > length and base > Fraction(1, 128):
        base /= 2
    ratio = length / base
    return base, 2 if ratio >= Fraction(7, 4) else 1 if ratio >= Fraction(3, 2) else 0


def _line(x: float, width: float) -> str:
    return f'<path d="M{x:.1f} 0v40" stroke-width="{width}"/>'


def _repeat_dots(x: float) -> str:
    return f'<circle cx="{x:.1f}" cy="15" r="2.2"/><circle cx="{x:.1f}" cy="25" r="2.2"/>'
