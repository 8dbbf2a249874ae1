import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.data.abc import (
    clean_tune,
    header_field,
    normalised_title,
    split_tune,
    split_tunes,
    tune_body,
    voice_count,
)

TUNE = "X:7\nT:The Made-Up Jig\nM:6/8\nL:1/8\nK:D\nd|def gfe|d3 d2:|\n"


def test_text_before_between_and_after_tunes_is_no_tune():
    text = f"A file header\n%%scale 1\n\n{TUNE}\nfree text\n\n{TUNE}\nmore\n"
    assert split_tunes(text) == [TUNE, TUNE]


def test_the_last_tune_needs_no_blank_line_and_no_newline():
    assert split_tunes(TUNE.rstrip("\n")) == [TUNE]


def test_a_new_number_ends_a_tune_without_a_blank_line():
    assert split_tunes(TUNE + TUNE) == [TUNE, TUNE]


def test_comment_lines_are_dropped_and_a_line_of_blanks_ends_a_tune():
    assert split_tunes("X:1\n% by hand\nK:G\nGAB|\n \t\nGGG|\n") == ["X:1\nK:G\nGAB|\n"]


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_ends_of_other_systems_and_a_byte_order_mark_are_read(newline):
    assert split_tunes("\ufeff" + TUNE.replace("\n", newline)) == [TUNE]


def test_a_text_without_a_number_holds_no_tune():
    assert split_tunes("") == []
    assert split_tunes("K:G\nGAB|\n") == []


@given(st.text(alphabet="XTKMab|: %\n\r", max_size=80))
def test_every_tune_starts_with_its_number_and_holds_no_blank_line(text):
    for tune in split_tunes(text):
        assert tune.startswith("X:")
        assert tune.endswith("\n")
        assert "\n\n" not in tune


def test_the_header_ends_with_the_key():
    header, body = split_tune("X:1\nK:G % one sharp\nGAB|\nK:D\ndef|\n")
    assert header == [("X", "1"), ("K", "G")]
    assert body == ["GAB|", "K:D", "def|"]


def test_a_header_field_is_its_first_value_without_the_comment():
    tune = "X:1\nT: One % not Two\nT:Two\nK:G\nGAB|\nM:3/4\n"
    assert header_field(tune, "T") == "One"
    assert header_field(tune, "M") is None


def test_a_stray_line_in_the_header_is_not_music():
    assert tune_body("X:1\n3/8=120\nK:G\nGAB|\n") == "GAB|"


def test_without_a_key_the_body_starts_at_the_first_line_that_is_no_field():
    assert split_tune("X:1\nT:t\nGAB|\n") == ([("X", "1"), ("T", "t")], ["GAB|"])


def test_a_line_that_starts_with_a_note_before_a_bar_line_is_music():
    assert tune_body("X:1\nK:G\nG:|\nd::e\nw:la la\nGAB|]\n") == "G:|\nd::e\nGAB|]"


@pytest.mark.parametrize(
    "title",
    ["The Miller's Maid (2) -- Reel", "Millers Maid, The", "THE  MILLER’S MAID", "Míller's Maid [first setting]."],
)
def test_settings_of_one_tune_share_a_normalised_title(title):
    assert normalised_title(f"X:1\nT:{title}\nK:G\n") == "millers maid"


def test_a_title_of_one_article_or_none_is_kept_as_it_is():
    assert normalised_title("X:1\nT:A\nK:G\n") == "a"
    assert normalised_title("X:1\nK:G\n") == ""


def test_voices_are_counted_by_name_wherever_they_are_named():
    assert voice_count(TUNE) == 1
    assert voice_count("X:1\nV:1 clef=treble\nV:2\nK:G\nV:1\nGAB|\n[V:2] G3|\n[V:3] G3|\n") == 3


def test_a_cleaned_tune_keeps_what_is_played():
    tune = (
        "X: 12\nT: First % sic\nT: Second\nZ: somebody\nR: reel\nQ: 1/4=100\nM: C|\nL: 1/8\nK: G\n"
        'P:A\n"4"GA`B  "Am7"c "^Fine"|\\\n d2 [P:B] [M:3/4] c3 | % remark\nw: la la\nL:1/16\nG4=20\n'
    )
    assert clean_tune(tune) == ('X:1\nT:First\nR:reel\nM:C|\nL:1/8\nK:G\nGAB "Am7"c | d2 [M:3/4] c3 |\nL:1/16\nG4\n')


@given(
    st.lists(
        st.sampled_from(
            ["A2", "|", ' "G7"', '"^x"', "`", " ", "%c", "\\\n", "\nL:1/8\n", "\nw:a\n", "=20\n", "[P:A]", "V:2"]
        )
    )
)
def test_cleaning_twice_changes_nothing_more(parts):
    once = clean_tune("X:1\nK:G\n" + "".join(parts))
    assert clean_tune(once) == once
