from hypothesis import given
from hypothesis import strategies as st

from rnnlab.evaluation import Span, TrainingText
from rnnlab.evaluation.copying import suffix_array

SHORT_TEXTS = st.text(alphabet="ab|", max_size=30)


def test_the_longest_span_is_found_with_both_places():
    span = TrainingText("abc def gfe|abc def gfe").longest_copied_span("xx def ga")
    assert span == Span(length=6, start=2, training_start=3, text=" def g")


def test_of_equal_spans_the_first_counts():
    assert TrainingText("ab cd").longest_copied_span("cd ab").start == 0


def test_texts_that_share_nothing_give_an_empty_span():
    assert TrainingText("abc").longest_copied_span("xyz").length == 0
    assert TrainingText("abc").longest_copied_span("").length == 0
    assert TrainingText("").longest_copied_span("abc").length == 0


def test_a_separator_keeps_a_span_inside_one_training_text():
    assert TrainingText("abc\0def").longest_copied_span("abcdef").text == "abc"


@given(generated=SHORT_TEXTS, training=SHORT_TEXTS)
def test_the_span_is_as_long_as_trying_all_substrings_finds(generated, training):
    substrings = [generated[i:j] for i in range(len(generated)) for j in range(i, len(generated) + 1)]
    span = TrainingText(training).longest_copied_span(generated)
    assert span.length == max((len(text) for text in substrings if text in training), default=0)
    assert generated[span.start : span.start + span.length] == span.text
    assert training[span.training_start : span.training_start + span.length] == span.text


@given(st.one_of(st.text(max_size=40), st.text(alphabet="ab", max_size=200)))
def test_the_suffix_array_is_the_sorted_suffixes(text):
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])


def test_one_tune_repeated_many_times_is_sorted_too():
    text = "GABc|" * 400
    assert TrainingText(text).longest_copied_span("GABc|" * 3 + "d").length == 15
    assert suffix_array(text).tolist() == sorted(range(len(text)), key=lambda start: text[start:])
