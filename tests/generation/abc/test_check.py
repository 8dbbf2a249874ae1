import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnlab.generation.abc import check_tune

HEADER = "X:1\nT:Made Up\nM:6/8\nL:1/8\nK:D\n"


def test_a_tune_with_pickup_and_endings_is_accepted():
    check = check_tune(HEADER + "A|def gfe|d3 B2A|1 def e2:|2 def d3||\nf|fef d3|d3 d2|]\n")
    assert check.is_accepted
    assert check.reason is None
    assert (check.num_filled, check.num_wrong, check.num_partial) == (4, 0, 4)
    assert check.filled_share == 1


def test_a_short_bar_in_the_middle_and_a_long_bar_anywhere_are_wrong():
    check = check_tune(HEADER + "def gfe a|def|def gfe|def gfe|\n")
    assert (check.num_filled, check.num_wrong, check.num_partial) == (2, 2, 0)
    assert check.filled_share == 0.5
    assert check.reason == (
        "2 of 4 bars do not fill the metre; the first is bar 1, line 1 of the music, "
        "with 7/8 of a whole note where 3/4 belongs"
    )
    assert check.is_readable


def test_the_caller_says_how_many_bars_must_be_filled():
    tune = HEADER + "def gfe|def|" + "def gfe|" * 3
    assert not check_tune(tune).is_accepted
    assert check_tune(tune, min_filled_share=0.8).is_accepted
    with pytest.raises(ValueError, match="min_filled_share must be from 0 to 1, got 2"):
        check_tune(tune, min_filled_share=2)


@pytest.mark.parametrize(
    ("tune", "reason"),
    [
        ("X:1\nM:6/8\ndef gfe|\n", "the tune has no key"),
        (HEADER.replace("6/8", "six"), "metre M: must be like"),
        (HEADER.replace("K:D", "K:?"), "key K: must be like"),
        (HEADER, "there is no note"),
        (HEADER + "z6|z6|\n", "there is no note"),
        (HEADER.replace("M:6/8\n", "") + "def gfe|\n", "the metre is free"),
        (HEADER + "d|\n", "no bar is as long as the metre"),
        (HEADER + "def ???|\n", "line 1, column 5 of the music"),
        ("", "the tune has no key"),
    ],
)
def test_the_reason_against_a_tune_is_given(tune, reason):
    check = check_tune(tune)
    assert not check.is_accepted
    assert check.reason is not None
    assert reason in check.reason


def test_the_share_of_a_tune_without_bars_is_nan():
    assert math.isnan(check_tune("").filled_share)


def test_number_title_and_unit_length_may_be_missing():
    assert check_tune("M:2/4\nK:G\nGABc d4|G8|\n").is_accepted


@given(st.text(alphabet="ABcdz0129/|:[]()<>{}\"!%&=^_,'-XKMLVZ \n\\", max_size=60))
def test_no_text_makes_the_check_raise(text):
    check_tune(HEADER + text)
    check_tune(text)
