import pytest

from rnnlab.data.vocabulary import PAD, UNK, Vocabulary
from rnnlab.errors import DataError

WORDS = "the cat and the dog and the bird".split()


def test_frequent_tokens_come_first_and_equal_counts_alphabetically():
    assert list(Vocabulary.build(WORDS)) == ["the", "and", "bird", "cat", "dog"]


def test_the_order_of_the_text_does_not_matter():
    assert Vocabulary.build(WORDS) == Vocabulary.build(reversed(WORDS))


def test_specials_get_the_first_ids_even_when_the_text_has_them_too():
    vocabulary = Vocabulary.build([*WORDS, UNK, UNK], specials=(PAD, UNK))
    assert list(vocabulary)[:3] == [PAD, UNK, "the"]
    assert (vocabulary.pad_id, vocabulary.unk_id) == (0, 1)
    assert len(vocabulary) == 7


def test_an_unk_that_the_corpus_writes_itself_is_the_unk():
    vocabulary = Vocabulary.build(["the", UNK, "the"])
    assert vocabulary.encode(["the", "unseen"]) == [0, 1]
    assert vocabulary.pad_id is None


def test_max_size_counts_the_specials_and_min_count_drops_rare_tokens():
    assert list(Vocabulary.build(WORDS, max_size=4, specials=(PAD, UNK))) == [PAD, UNK, "the", "and"]
    assert list(Vocabulary.build(WORDS, min_count=2)) == ["the", "and"]


def test_encode_and_decode_are_inverse_on_known_tokens():
    vocabulary = Vocabulary.build(WORDS)
    assert vocabulary.decode(vocabulary.encode(WORDS)) == WORDS


def test_characters_are_tokens_too():
    assert Vocabulary.build("abba\nb").encode("ab\n") == [1, 0, 2]


def test_unseen_tokens_without_unk_name_the_first_five():
    vocabulary = Vocabulary.build("abc")
    with pytest.raises(DataError, match=r"has no 'p', 'q', 'r', 's', 't' and 2 more, and no <unk>"):
        vocabulary.encode("apqprstuv")
    with pytest.raises(DataError, match=r"of 3 tokens has no 'z', and no <unk>"):
        vocabulary.encode("az")


def test_the_unknown_share_counts_ids_of_unk():
    vocabulary = Vocabulary.build(WORDS, specials=(UNK,))
    assert vocabulary.unknown_share(vocabulary.encode(["the", "emu", "cat", "yak"])) == 0.5
    assert vocabulary.unknown_share([]) == 0.0
    assert Vocabulary.build("ab").unknown_share([0, 1]) == 0.0


def test_decode_refuses_ids_out_of_range():
    with pytest.raises(ValueError, match=r"ids must be in 0\.\.4, got -1"):
        Vocabulary.build(WORDS).decode([-1])
    with pytest.raises(ValueError, match=r"got 5"):
        Vocabulary.build(WORDS).decode([5])


def test_id_of_does_not_fall_back_to_unk():
    vocabulary = Vocabulary.build(WORDS, specials=(UNK,))
    assert vocabulary.id_of("the") == 1
    assert "emu" not in vocabulary
    with pytest.raises(KeyError):
        vocabulary.id_of("emu")


def test_the_hash_depends_on_tokens_and_their_order_only():
    assert Vocabulary(["a", "b"]).sha256 != Vocabulary(["b", "a"]).sha256
    assert Vocabulary(["a", "b"]).sha256 == "3554d2b8a1e34099053865de8576d1460b807430ec8c6b85315c9607ba93d308"


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "at least one token"),
        (["a", "b", "a"], "distinct, got 'a' 2 times"),
        (["a", 1], "non-empty str without lone surrogates, got 1"),
        (["a", ""], "got ''"),
        (["\ud800"], "lone surrogates"),
    ],
)
def test_tokens_that_make_no_vocabulary_are_refused(tokens, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(tokens)


def test_a_text_of_one_token_is_nothing_to_learn_from():
    with pytest.raises(DataError, match="got 1 different tokens"):
        Vocabulary.build("aaaa", specials=(PAD, UNK))
    with pytest.raises(DataError, match=r"got 0 different tokens seen at least 9 times \(of 2 in all\)"):
        Vocabulary.build("abab", min_count=9)


def test_sizes_without_room_are_refused():
    with pytest.raises(ValueError, match="max_size must be above the 2 special tokens, got 2"):
        Vocabulary.build(WORDS, max_size=2, specials=(PAD, UNK))
    with pytest.raises(ValueError, match="min_count must be at least 1, got 0"):
        Vocabulary.build(WORDS, min_count=0)
