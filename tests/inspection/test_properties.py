"""Where a property holds, marked under the text it is of."""

import pytest

from rnnlab.inspection.properties import review_properties, tune_properties, word_properties

EOS = "<eos>"


def marks(flags):
    return "".join("^" if flag else "." for flag in flags)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("quote_open", 'a " b c " d', ".^^^.."),
        ("quote_open", f'" a {EOS} b', "^^.."),
        ("quote_open", "“ a ” b", "^^.."),
        ("bracket_open", "a ( b [ c ] d ) e )", ".^^^^^^..."),
        ("bracket_open", f"( a {EOS} b", "^^.."),
        ("sentence_start", "a b c d . e f", "^^^.^^^"),
        ("sentence_ends_next", "a b . c", ".^.."),
        ("line_ends_next", f"a b {EOS} c", ".^.."),
        ("digit", "in 1,900 men x2", ".^.^"),
        ("after_comma", "a , b c . d", ".^^^.."),
        ("sentence_ends_next", "天 地 。 玄", ".^.."),
        ("sentence_start", "यह एक वाक्य है । दो", "^^^.^^"),
        ("after_comma", "天 ， 地 。 玄", ".^^.."),
        ("quote_open", "天 「 地 」 玄", ".^^.."),
    ],
)
def test_words(name, text, expected):
    assert marks(word_properties(EOS)[name].holds(text.split())) == expected


def test_a_long_sentence_is_one_of_more_than_twenty_words():
    flags = word_properties(EOS)["sentence_long"].holds([EOS] + ["w"] * 22 + ["."] + ["w"])
    assert marks(flags) == "." * 21 + "^^" + ".."


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("negated", "it is not so very very bad at all", "..^^^^^.."),
        ("negated", "i didn't know nothing", ".^^^"),
        ("negated", "knot", "."),
        ("exclaimed", "a ! b", ".^^"),
        ("sentence_start", "a b c d ! e", "^^^.^^"),
    ],
)
def test_reviews(name, text, expected):
    assert marks(review_properties()[name].holds(text.split())) == expected


def test_the_ends_of_a_review():
    flags = {name: one.holds(["w"] * 50) for name, one in review_properties().items()}
    assert marks(flags["text_start"]) == "^" * 20 + "." * 30
    assert marks(flags["text_end"]) == "." * 30 + "^" * 20


@pytest.mark.parametrize(
    ("name", "music", "expected"),
    [
        ("slur_open", "A(BC)d {e}f (3abc", ".^^^...^^........"),
        ("chord_open", "A [CEG]2 |[1 d:|", "..^^^^.........."),
        ("quote_open", 'A "Am"B', "..^^^.."),
        ("repeat_open", "|:AB:|cd", ".^^^^..."),
        ("bar_start", "ABcdef|ABcdef|", "......^^^^...^"),
        ("bar_second_half", "ABcd|ef|", "..^^..^."),
        ("digit", "A2B", ".^."),
        ("uppercase", "aBc", ".^."),
        ("line_start", "\nABCDEFG", "^^^^^..."),
    ],
)
def test_music_after_the_header(name, music, expected):
    header = ["<end>", *"X:1\nK:D\n"]
    flags = tune_properties()[name].holds([*header, *music])
    assert marks(flags[len(header) :]) == expected


def test_the_header_ends_with_the_line_of_the_key():
    flags = tune_properties()["in_header"].holds(["<end>", *"X:1\nK:D\nAB"])
    assert marks(flags) == "^" * 9 + ".."
    assert all(tune_properties()["in_header"].holds([*"X:1\nT:a"])), "no key, no music"
    # quotes, brackets and bar lines of a title are no music
    for name in ("quote_open", "chord_open", "slur_open", "bar_start"):
        assert not any(tune_properties()[name].holds([*'X:1\nT:"A" [b] (c) |\nK:D\n']))


def test_every_property_has_a_flag_for_every_token():
    tokens = ["<end>", *"X:1\nK:D\n|:A(B[c|\n"]
    for properties in (tune_properties(), word_properties(EOS), review_properties()):
        for name, one in properties.items():
            assert len(one.holds(tokens)) == len(tokens), name
            assert one.holds([]) == [], name
