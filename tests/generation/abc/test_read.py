from fractions import Fraction

import pytest

from rnnlab.generation.abc import read_tune
from rnnlab.generation.abc.read import Metre, default_unit_length, parse_key, parse_metre, parse_unit_length


def test_a_header_is_understood():
    tune = read_tune("X:1\nT: Made Up\nM:6/8\nL:1/16\nK:D Mixolydian\ndef|\n")
    assert (tune.title, tune.metre, tune.unit_length, tune.key) == (
        "Made Up", Metre(6, 8), Fraction(1, 16), "D Mixolydian",
    )  # fmt: skip
    assert tune.body == ("def|",)


@pytest.mark.parametrize(
    ("value", "length"),
    [("C", 1), ("C|", 1), ("6/8", Fraction(3, 4)), ("2+3+2/8", Fraction(7, 8)), ("(2+3)/8", Fraction(5, 8))],
)
def test_a_metre_gives_the_length_of_a_bar(value, length):
    metre = parse_metre(value)
    assert metre is not None
    assert metre.bar_length == length


@pytest.mark.parametrize("value", ["none", ""])
def test_a_free_metre_is_none(value):
    assert parse_metre(value) is None


def test_beats_in_threes_make_a_metre_compound():
    assert [Metre(beats, 8).is_compound for beats in (3, 6, 9, 12, 4)] == [False, True, True, True, False]


def test_a_missing_unit_length_follows_from_the_metre():
    assert default_unit_length(Metre(2, 4)) == Fraction(1, 16)
    assert default_unit_length(Metre(3, 4)) == default_unit_length(None) == Fraction(1, 8)


@pytest.mark.parametrize(
    "key", ["G", "Bb", "F#m", "D Mixolydian", "Ador", "EMin", "Glyd % two sharps", "Hp", "none", "D =c"]
)
def test_keys_as_books_write_them_are_read(key):
    assert parse_key(key) == key


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (parse_metre, "6:8", "metre M: must be like 6/8, C or none, got '6:8'"),
        (parse_metre, "0/4", "got '0/4'"),
        (parse_metre, "4/0", "got '4/0'"),
        (parse_unit_length, "1/0", "unit length L: must be like 1/8, got '1/0'"),
        (parse_unit_length, "x", "got 'x'"),
        (parse_key, "H", "key K: must be like G, Bb, F#m or D Mixolydian, got 'H'"),
        (parse_key, "", "got ''"),
    ],
)
def test_a_field_that_cannot_be_read_is_quoted(parse, value, message):
    with pytest.raises(ValueError, match=message):
        parse(value)


def test_a_tune_needs_its_key_before_the_music():
    with pytest.raises(ValueError, match="the tune has no key"):
        read_tune("X:1\nM:6/8\nGAB|\n")
    with pytest.raises(ValueError, match="1 lines before the key"):
        read_tune("X:1\nGAB|\nK:G\nGAB|\n")
