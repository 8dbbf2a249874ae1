import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rnnlab.data.tokens import join_tokens, lines_to_tokens, review_tokens, tokenizer, whitespace_tokens, word_tokens


def test_words_are_lower_cased_and_every_mark_is_a_token():
    assert word_tokens("The State's 1,500 ships (old)!") == ["the", "state's", "1,500", "ships", "(", "old", ")", "!"]


def test_words_drop_nothing_but_white_space():
    text = "a--b; «c» 3.5% _d_ …"
    assert "".join(word_tokens(text)) == "".join(text.split())


def test_both_apostrophes_give_one_token():
    assert word_tokens("Don’t don't") == ["don't", "don't"]


def test_letters_with_combining_accents_stay_in_their_word():
    assert word_tokens("cafe\u0301s") == ["cafés"]


def test_marks_belong_to_their_letters_in_every_script():
    assert word_tokens("नमस्ते दुनिया।") == ["नमस्ते", "दुनिया", "।"]
    assert word_tokens("قِطَّة كَبِيرَة") == ["قِطَّة", "كَبِيرَة"]
    assert review_tokens("می\u200cخواهم नहीं!") == ["می\u200cخواهم", "नहीं", "!"]
    assert word_tokens("İstanbul") == ["i\u0307stanbul"]


def test_letters_of_scripts_without_spaces_are_tokens():
    assert word_tokens("天地，hello 3.5カナ") == ["天", "地", "，", "hello", "3.5", "カ", "ナ"]
    assert word_tokens("เป็น 한국어") == ["เ", "ป็", "น", "한국어"]
    assert join_tokens(word_tokens("天地玄，黃。 the 宇")) == "天地玄，黃。 the 宇"


def test_an_emoji_of_several_characters_is_one_token():
    assert word_tokens("👩\u200d👧 🇩🇪🇫🇷 ❤\ufe0f👍🏽") == ["👩\u200d👧", "🇩🇪", "🇫🇷", "❤\ufe0f", "👍🏽"]


@given(st.text(alphabet="aé1'.,!_ \n\u0301\u094d天ป็👩\u200d🇩🏽", max_size=20))
def test_words_drop_nothing_of_any_script(text):
    kept = unicodedata.normalize("NFC", text)
    assert "".join(word_tokens(text)) == "".join(kept.split())


def test_a_typed_unk_stays_whole():
    assert word_tokens("the <unk> <b>") == ["the", "<unk>", "<", "b", ">"]


def test_reviews_keep_words_and_four_marks():
    assert review_tokens('It\'s <br /><BR>"NOT bad"; 10/10!') == ["it's", "not", "bad", "10", "10", "!"]
    assert review_tokens("Was it? Yes, 3.5.") == ["was", "it", "?", "yes", ",", "3.5", "."]


def test_whitespace_tokens_are_left_as_they_are():
    assert whitespace_tokens("  The <unk> @-@ U.S. ") == ["The", "<unk>", "@-@", "U.S."]


def test_every_line_ends_in_eos_with_or_without_a_last_newline():
    for text in ("a b\nc\n", "a b\nc"):
        assert lines_to_tokens(text, "whitespace", keep_blank_lines=True) == ["a", "b", "<eos>", "c", "<eos>"]


def test_blank_lines_count_where_the_published_numbers_count_them():
    assert lines_to_tokens(" \na\n\n", "whitespace", keep_blank_lines=True) == ["<eos>", "a", "<eos>", "<eos>"]
    assert lines_to_tokens(" \na\n\n", "words", keep_blank_lines=False) == ["a", "<eos>"]


def test_other_separators_are_white_space_inside_a_line():
    assert lines_to_tokens("a\u2028b\x0bc", "words", keep_blank_lines=False) == ["a", "b", "c", "<eos>"]


def test_joined_tokens_read_like_text():
    tokens = ["hello", ",", "world", "(", "again", ")", "!", "<eos>", "next", "line", "<eos>"]
    assert join_tokens(tokens) == "hello, world (again)!\nnext line\n"


def test_an_unknown_tokenizer_names_the_known_ones():
    with pytest.raises(ValueError, match="expected whitespace or words, got 'bpe'"):
        tokenizer("bpe")


@given(st.text(alphabet="ab1'.,!?-_<>/ \n\t&\u00e9", max_size=40))
@example("'tis o'clock 'n' '' a''b it's' 1'2")
@example("1,000.5 3.x x.3 <br/>a<br />b a_b")
def test_the_quick_way_through_ascii_gives_the_same_review_tokens(text):
    plain = re.sub(r"<br\s*/?>", " ", text, flags=re.IGNORECASE).lower()
    assert review_tokens(text) == re.findall(r"\d+(?:[.,]\d+)+|[^\W_]+(?:'[^\W_]+)*|[.,!?]", plain)
