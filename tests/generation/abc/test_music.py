from fractions import Fraction

import pytest

from rnnlab.generation.abc.music import MusicError, read_music
from rnnlab.generation.abc.read import Metre

EIGHTH = Fraction(1, 8)
COMMON_TIME = Metre(4, 4)


def lengths(music: str, metre: Metre | None = COMMON_TIME) -> list[Fraction]:
    """Bar lengths in eighths."""
    return [bar.length / EIGHTH for bar in read_music(music.split("\n"), metre=metre, unit_length=EIGHTH).bars]


@pytest.mark.parametrize(
    ("music", "eighths"),
    [
        ("A", 1),
        ("A2 B3/2 c/ d// e/4 f3/4 z2", 2 + Fraction(3, 2) + Fraction(1, 2) + Fraction(1, 4) * 2 + Fraction(3, 4) + 2),
        ("^A _B =c ^^d __e A,, c''2", 8),
        ("A>B", 2),
        ("A>>B c<d e<<<f", 6),
        ("A>(B {c}d) | ", 3),
        ("(3ABc", 2),
        ("(3:2:4ABcd", Fraction(8, 3)),
        ("(2AB", 3),
        ("(3A>Bc", 2),
        ("[CEG]2 [C2E2G2]/2", 3),
        ("{abc}A {/g}B", 2),
        ('"Am"A .B ~c !trill!d Te vf u(g/a/) "^text"b', 8),
        ("A-A (B c) `d y2 x", 6),
        ("A4 & c2 d2", 4),
        ("A B % c d e", 2),
        ("AB \\\ncd", 4),
        ("AB!\ncd", 4),
        ("w:la la\nAB", 2),
        ("A:|", 1),
    ],
)
def test_a_bar_lasts_as_long_as_its_notes(music, eighths):
    assert lengths(music) == [eighths]


def test_five_notes_go_in_the_time_of_three_only_where_beats_go_in_threes():
    assert lengths("(5ABcde", Metre(4, 4)) == [2]
    assert lengths("(5ABcde", Metre(6, 8)) == [3]
    assert lengths("(5ABcde", Metre(3, 4)) == [2]


def test_bar_lines_of_every_kind_divide_bars_and_line_ends_do_not():
    assert lengths("A|B2||c3|:d4:|1e:|2f2\nf::g[|a|]b[1a[2b2|]") == [1, 2, 3, 4, 1, 3, 1, 1, 1, 1, 2]


def test_empty_bars_are_merged_into_the_next_sign():
    bars = read_music(["A8 || |: B2 |", "| c8 |]"], metre=Metre(4, 4), unit_length=EIGHTH).bars
    assert [(bar.length / EIGHTH, bar.opens, bar.closes) for bar in bars] == [
        (8, True, True),
        (2, True, False),
        (8, False, True),
    ]


def test_a_rest_of_many_bars_fills_them():
    assert lengths("Z3|A8") == [8, 8, 8, 8]


def test_metre_and_unit_change_inside_the_tune():
    music = read_music(["A8|", "M:2/4", "L:1/16", "A8|[M:3/4][L:1/4]A3|"], metre=Metre(4, 4), unit_length=EIGHTH)
    assert [bar.length == bar.metre for bar in music.bars] == [True, True, True]


def test_voices_keep_their_own_bars():
    music = read_music(["V:1", "A4", "V:2", "B8|", "V:1", "c4|", "[V:2]d8|"], metre=Metre(4, 4), unit_length=EIGHTH)
    assert [bar.length for bar in music.bars] == [1, 1, 1]
    assert music.num_notes == 4


@pytest.mark.parametrize(
    ("music", "message"),
    [
        ("AB|c@d", "line 1, column 5 of the music: '@d' is not music"),
        ("AB\nA>|B", "line 2, column 3 of the music: a broken rhythm has no note after it"),
        ("A>", "end of the music: a broken rhythm has no note after it"),
        ("|>A", "a broken rhythm has no note before it"),
        ("A0", "a note's length must not be zero, got '0'"),
        ("A/0", "a note's length must not be zero, got '/0'"),
        ('"Am', "'\"Am' is not music"),
        ("{ab", "'{ab' is not music"),
        ("[CEG", "'[CEG' is not music"),
        ("hello", "'hello' is not music"),
        ("AB:c", "':' alone is no bar line"),
        ("Z99999999", "a rest must be 1 to 1000 bars long, got 99999999"),
        ("[M:x]A", "metre M: must be like"),
    ],
)
def test_what_is_no_music_is_quoted_with_its_place(music, message):
    with pytest.raises(MusicError) as raised:
        lengths(music)
    assert message in str(raised.value)


def test_an_unclosed_chord_of_many_notes_is_refused_at_once():
    # With an ambiguous pattern for lengths this would take longer than anyone waits.
    with pytest.raises(MusicError):
        lengths("[" + "A1111/1111" * 200)
