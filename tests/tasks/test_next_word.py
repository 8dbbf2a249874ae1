import json
import math

import numpy as np
import pytest
import torch

from rnnlab.data.tokens import EOS
from rnnlab.errors import CheckpointError, ConfigError, DataError
from rnnlab.tasks.base import score

CPU = torch.device("cpu")


def uniform_model(task, tasks):
    """A model that gives every token the same probability."""
    model = tasks.model(task)
    with torch.no_grad():
        model.decoder_weight.zero_()
        model.decoder_bias.zero_()
    return model


@pytest.fixture
def own(tmp_path, tasks):
    """A task on texts of one's own: one a split."""

    def make(train, valid="a b\n", test="a b c\n", **settings):
        for split, text in (("train", train), ("valid", valid), ("test", test)):
            (tmp_path / f"{split}.txt").write_text(text)
        return tasks.new("next_word", corpus=str(tmp_path), **settings)

    return make


def test_the_perplexity_of_a_uniform_guess_is_the_size_of_the_vocabulary(tasks):
    task = tasks.read("next_word")
    scores = score(task, uniform_model(task, tasks), "test", batch_size=9, device=CPU)
    # log V in float32 has seven digits.
    assert scores.results()["perplexity"] == pytest.approx(len(task.vocabulary), rel=1e-6)


def test_every_token_counts_the_first_and_the_line_ends_and_the_unknown_among_them(own, tasks):
    task = own("a b\n" * 5, test="a zebra\nb\n\nquokka\n", min_count=1)
    task.read_corpus()
    scores = score(task, uniform_model(task, tasks), "test", batch_size=1, device=CPU)
    assert scores.details() == {"targets": 7}  # a <unk> <eos> b <eos> <unk> <eos>
    assert task.corpus["test_tokens"] == 7
    assert task.vocabulary.decode(task._ids["test"]) == [EOS, "a", "<unk>", EOS, "b", EOS, "<unk>", EOS]


def test_scoring_starts_from_nothing_and_reads_one_stream(tasks):
    task = tasks.read("next_word")
    windows = task.score_windows("valid", 64)
    assert windows.batch_size == 1
    assert [bool(windows[index].starts.any()) for index in range(len(windows))] == [True, *[False] * (len(windows) - 1)]


def test_rare_words_become_unknown_unless_the_corpus_brings_its_own(own):
    text = "a a a b b c , , ,\n"
    cases = [
        (text, None, {"a", ","}),
        (text + "<unk>\n", None, {"a", ",", "b", "c"}),
        (text, 1, {"a", ",", "b", "c"}),
        (text, 2, {"a", ",", "b"}),
    ]
    for train, min_count, words in cases:
        task = own(train, min_count=min_count)
        task.read_corpus()
        assert set(task.vocabulary) == {EOS, "<unk>", *words}


def test_the_vocabulary_has_at_most_max_vocab_words_the_frequent_ones(own):
    task = own("a a a a a b b b b c\n", min_count=1, max_vocab=4)
    task.read_corpus()
    assert task.vocabulary.tokens == (EOS, "<unk>", "a", "b")


def test_a_text_with_nothing_to_learn_is_refused(own):
    with pytest.raises(
        DataError, match=r"nothing to learn: got 0 different tokens seen at least 3 times \(of 5 in all\)"
    ):
        own("a b c d e a b c d e\n").read_corpus()


def test_a_text_shorter_than_its_columns_is_refused(own):
    task = own("a b a b a b a b a\n", trainer={"batch_size": 11})
    task.read_corpus()
    with pytest.raises(DataError, match="the text is too short: got 11 tokens, wanted at least 12 for 11 columns"):
        task.train_windows(0)


def test_windows_need_a_length(tasks):
    task = tasks.read("next_word", trainer={"bptt_len": None})
    with pytest.raises(ConfigError, match=r"task=next_word needs trainer\.bptt_len"):
        task.train_windows(0)


def test_windows_have_the_length_asked_for(tasks):
    windows = tasks.read("next_word", trainer={"bptt_len": 7, "batch_size": 5}).train_windows(0)
    assert windows[0].inputs.shape == (7, 5)


def test_random_windows_differ_between_epochs_and_not_between_runs(tasks):
    one, other = (tasks.read("next_word", trainer={"random_bptt": True, "bptt_len": 20}) for _ in range(2))
    lengths = [[len(w[i].inputs) for i in range(len(w))] for w in (one.train_windows(e) for e in (0, 1, 0))]
    again = other.train_windows(1)
    assert lengths[0] != lengths[1]
    assert lengths[0] == lengths[2]
    assert lengths[1] == [len(again[i].inputs) for i in range(len(again))]


def test_a_text_generated_begins_with_its_prompt(tasks):
    task = tasks.read("next_word")
    texts = task.generate(
        tasks.model(task), "the cat", count=3, length=5, temperature=1.0, top_k=None, top_p=None, seed=0
    )
    assert all(text.startswith("the cat") for text in texts)


def test_an_unseen_word_of_a_prompt_is_read_as_unknown(tasks):
    task = tasks.read("next_word")
    unk = task.vocabulary.unk_id
    assert task.encode_prompt("The zebra sat!") == task.vocabulary.encode([EOS, "the", "<unk>", "sat", "<unk>"])
    assert task.encode_prompt("zebra")[1:] == [unk]
    assert task.encode_prompt("") == [task.vocabulary.id_of(EOS)]


def test_text_is_decoded_for_readers(tasks):
    task = tasks.read("next_word")
    assert task.decode(task.vocabulary.encode([EOS, "the", "cat", EOS, "a"])) == "the cat\na"


def test_the_tokenizer_is_kept_with_the_run(tasks):
    task = tasks.read("next_word")
    content = json.loads(json.dumps(task.dump()))
    assert content["tokenizer"] == "words"
    restored = tasks.new("next_word", corpus="/gone")
    restored.restore({**content, "tokenizer": "whitespace"})
    assert restored.encode_prompt("Cat cat") == task.vocabulary.encode([EOS, "<unk>", "cat"])


@pytest.mark.parametrize("tokenizer", [None, "letters"])
def test_an_unknown_tokenizer_is_refused(tasks, tokenizer):
    content = {**tasks.read("next_word").dump(), "tokenizer": tokenizer}
    with pytest.raises(
        CheckpointError, match=f"vocabulary.json is damaged: tokenizer: expected whitespace or words.* '{tokenizer}'"
    ):
        tasks.new("next_word").restore(content)


def test_samples_are_texts_of_the_length_asked_for(tasks):
    task = tasks.read("next_word")
    samples = task.samples(tasks.model(task), 3, 12, seed=0)
    assert len(samples) == 3
    assert all(1 <= len(text.split()) <= 12 for text in samples)
    assert samples == task.samples(tasks.model(task), 3, 12, seed=0)


def test_ids_fit_the_vocabulary(tasks):
    task = tasks.read("next_word")
    for ids in task._ids.values():
        assert ids.dtype == np.int32
        assert 0 <= ids.min()
        assert ids.max() < len(task.vocabulary)


def test_overflowing_perplexity_is_infinite_not_an_error(tasks):
    assert tasks.read("next_word").measures(1000.0, 0.0) == {"perplexity": math.inf}
