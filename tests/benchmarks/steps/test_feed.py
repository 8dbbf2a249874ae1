from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from rnnlab.benchmarks.steps.cases import CASES
from rnnlab.benchmarks.steps.feed import given_task, make_feed, read_feed
from rnnlab.errors import DataError


@pytest.mark.parametrize("name", list(CASES))
def test_the_same_case_gets_the_same_data_and_reads_it_back(made, name):
    case, feed, folder = made(name)
    for again in (make_feed(case, "synthetic"), read_feed(folder)):
        for one, other in zip(feed, again, strict=True):
            np.testing.assert_array_equal(one, other)
    assert feed.tokens.min() >= 0
    assert feed.tokens.max() < case.vocab_size


def test_frequent_ids_are_frequent_as_words_are(made):
    _, feed, _ = made("ptb_650")
    counts = np.bincount(feed.tokens, minlength=30)
    assert counts[:3].sum() > 3 * counts[-3:].sum()


def test_columns_are_equally_long_so_that_no_loop_drops_a_token(made):
    case, feed, _ = made("wikitext2_200")
    windows = given_task(case, feed).train_windows(0)
    assert len(windows) == 6
    assert all(windows[index].lengths is None for index in range(6))
    assert (len(feed.tokens) - 1) % case.batch_size == 0


def test_the_rows_of_each_batch_are_those_of_rnnlabs_windows(made):
    case, feed, _ = made("sentiment_lstm")
    windows = given_task(case, feed).train_windows(0)
    for index in range(len(windows)):
        rows = feed.rows[index * case.batch_size : (index + 1) * case.batch_size]
        assert windows[index].targets.tolist() == feed.classes[rows].tolist()
        for column, row in enumerate(rows):
            sequence = feed.sequences[row]
            assert windows[index].inputs[: len(sequence), column].tolist() == sequence.tolist()


def test_weights_are_rnnlabs_own_first_weights(made):
    _case, _feed, folder = made("ptb_650")
    weights = load_file(folder / "weights.safetensors")
    assert weights["embedding.weight"].shape == (30, 6)
    assert weights["decoder_weight"].shape == (30, 6)


def test_a_corpus_is_read_where_it_stands(made, corpora):
    case, _, _ = made("ptb_650")
    feed = make_feed(replace(case, corpus=str(corpora["next_word"])), "corpus")
    assert feed.sizes[0] == 18  # 16 words (those said once are unknown) and two symbols
    with pytest.raises(DataError, match="do not fill two windows; use --data synthetic"):
        make_feed(replace(case, corpus=str(corpora["next_word"]), bptt_len=900), "corpus")
