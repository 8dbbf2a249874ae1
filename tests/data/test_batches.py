import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.data.batches import SequenceBatches
from rnnlab.data.ragged import Ragged
from rnnlab.errors import DataError


def windows_of(source):
    return [source[index] for index in range(len(source))]


def numbered(sizes):
    """Sequences whose tokens are all different: sequence i has i * 1000, i * 1000 + 1, ..."""
    return [list(range(i * 1000 + 1, i * 1000 + 1 + size)) for i, size in enumerate(sizes)]


def valid_part(tensor, lengths):
    steps = tensor.shape[0]
    lengths = [steps] * tensor.shape[1] if lengths is None else lengths.tolist()
    return [tensor[:length, row].tolist() for row, length in enumerate(lengths)]


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=40),
    batch_size=st.integers(1, 9),
    bptt_len=st.none() | st.integers(1, 12),
    shuffle=st.booleans(),
    bucket=st.booleans(),
)
def test_every_token_of_every_sequence_is_predicted_once(sizes, batch_size, bptt_len, shuffle, bucket):
    sequences = numbered(sizes)
    source = SequenceBatches(sequences, None, batch_size, bptt_len=bptt_len, shuffle=shuffle, bucket=bucket)
    inputs = {i: [] for i in range(len(sizes))}
    targets = {i: [] for i in range(len(sizes))}
    for index, window in enumerate(windows_of(source)):
        assert window.inputs.shape[0] <= (bptt_len or 30)
        for row, part in zip(source.indices(index).tolist(), valid_part(window.inputs, window.lengths), strict=True):
            inputs[row] += part
        for row, part in zip(source.indices(index).tolist(), valid_part(window.targets, window.lengths), strict=True):
            targets[row] += part
    assert list(inputs.values()) == [sequence[:-1] for sequence in sequences]
    assert list(targets.values()) == [sequence[1:] for sequence in sequences]
    assert source.num_targets == sum(window.num_targets for window in windows_of(source))


def test_only_the_first_window_of_a_batch_starts_sequences():
    source = SequenceBatches(numbered([6, 6, 9]), None, 2, bptt_len=3)
    assert [window.starts.tolist() for window in windows_of(source)] == [
        [True, True],
        [False, False],
        [True],
        [False],
        [False],
    ]


def test_a_row_that_ended_in_an_earlier_window_has_length_zero_and_pad_targets():
    source = SequenceBatches([[1, 2], [3, 4, 5, 6, 7]], None, 2, bptt_len=2)
    first, second = windows_of(source)
    assert first.lengths.tolist() == [1, 2]
    assert second.lengths.tolist() == [0, 2]
    assert second.inputs[:, 0].tolist() == second.targets[:, 0].tolist() == [0, 0]


def test_classes_come_with_whole_sequences_in_one_window():
    source = SequenceBatches([[7, 8, 9], [5]], [1, 0], 2)
    (window,) = windows_of(source)
    assert source.indices(0).tolist() == [1, 0]
    assert window.inputs.T.tolist() == [[5, 0, 0], [7, 8, 9]]
    assert window.targets.tolist() == [0, 1]
    assert window.lengths.tolist() == [1, 3]
    assert window.starts.tolist() == [True, True]
    assert source.num_targets == 2


def test_rows_of_equal_length_need_no_lengths():
    assert SequenceBatches([[1, 2], [3, 4]], [0, 1], 2)[0].lengths is None


def test_without_shuffle_batches_are_sorted_by_length_or_as_given():
    sequences = numbered([5, 3, 4, 3])
    by_length = SequenceBatches(sequences, [0] * 4, 2)
    as_given = SequenceBatches(sequences, [0] * 4, 2, bucket=False)
    assert [by_length.indices(i).tolist() for i in range(2)] == [[1, 3], [2, 0]]
    assert [as_given.indices(i).tolist() for i in range(2)] == [[0, 1], [2, 3]]


def test_indices_put_predictions_back_in_order():
    sequences = numbered([5, 3, 4, 9, 2])
    source = SequenceBatches(sequences, [0] * 5, 2, shuffle=True)
    first_tokens = torch.zeros(5).long()
    for index, window in enumerate(windows_of(source)):
        first_tokens[source.indices(index)] = window.inputs[0]
    assert first_tokens.tolist() == [sequence[0] for sequence in sequences]


def test_the_order_is_a_pure_function_of_seed_and_epoch():
    sequences = numbered([2 + i % 5 for i in range(50)])

    def order(source):
        return [source.indices(index).tolist() for index in range(len(source))]

    source = SequenceBatches(sequences, [0] * 50, 4, shuffle=True, seed=1, epoch=3)
    torch.manual_seed(99)
    assert order(source) == order(SequenceBatches(sequences, [0] * 50, 4, shuffle=True, seed=1).at_epoch(3))
    assert order(source) != order(source.at_epoch(4))
    assert order(source) != order(SequenceBatches(sequences, [0] * 50, 4, shuffle=True, seed=2, epoch=3))


def test_buckets_waste_little_on_lengths_like_those_of_reviews():
    # Log-normal with a median of 180 and a long tail, as IMDb reviews have.
    sizes = np.random.default_rng(0).lognormal(5.2, 0.65, 20_000).clip(10, 2500).astype(int)
    sequences = [np.zeros(size, dtype=np.int32) for size in sizes]
    bucketed = SequenceBatches(sequences, [0] * 20_000, 64, shuffle=True)
    assert bucketed.padding_share < 0.05
    assert SequenceBatches(sequences, [0] * 20_000, 64, shuffle=True, bucket=False).padding_share > 0.5


@pytest.mark.parametrize("epoch", range(3))
def test_an_epoch_has_every_text_once_in_as_few_batches_as_there_can_be(epoch):
    sizes = np.random.default_rng(0).integers(1, 400, 1_001)
    source = SequenceBatches([np.zeros(size) for size in sizes], [0] * 1_001, 64, shuffle=True, epoch=epoch)
    rows = torch.cat([source.indices(index) for index in range(len(source))])
    assert sorted(rows.tolist()) == list(range(1_001))
    assert source.num_batches == len(source) == 16


def test_sequences_in_one_array_are_not_copied():
    ragged = Ragged.of([[4, 5, 6], [7]])
    source = SequenceBatches(ragged, [0, 1], 2)
    assert np.shares_memory(source._tokens.numpy(), ragged.values)
    assert source[0].inputs.T.tolist() == [[7, 0, 0], [4, 5, 6]]


def test_padding_share_is_the_padded_part_of_all_places():
    assert SequenceBatches([[1], [1, 2, 3, 4]], [0, 1], 2).padding_share == pytest.approx(3 / 8)


def test_long_and_short_batches_are_mixed_in_an_epoch():
    source = SequenceBatches(numbered(range(1, 101)), [0] * 100, 4, shuffle=True)
    longest = [window.inputs.shape[0] for window in windows_of(source)]
    assert longest != sorted(longest)


def test_sequences_may_be_tensors_or_arrays():
    source = SequenceBatches([torch.tensor([4, 5]), np.array([6, 7])], torch.tensor([0, 1]), 2)
    assert source[0].inputs.T.tolist() == [[4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("sequences", "targets", "message"),
    [
        ([], [], "there is no sequence; wanted at least 1"),
        ([[1], []], [0, 1], "sequence 1 is too short: got 0 tokens, wanted at least 1"),
        ([[1, 2], [1]], None, "sequence 1 is too short: got 1 tokens, wanted at least 2"),
    ],
)
def test_sequences_without_a_target_are_refused(sequences, targets, message):
    with pytest.raises(DataError, match=message):
        SequenceBatches(sequences, targets, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"bptt_len": 0, "targets": None}, "bptt_len must be at least 1, got 0"),
        ({"bptt_len": 5}, "bptt_len must be None, got 5"),
        ({"targets": [1]}, r"targets must be \(2,\), got \(1,\)"),
        ({"seed": -3}, "got -3 and 0"),
    ],
)
def test_arguments_out_of_range_are_refused_with_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        SequenceBatches(**{"sequences": [[1, 2], [3, 4]], "targets": [0, 1], "batch_size": 2, **arguments})


def test_a_window_past_the_end_is_an_index_error():
    with pytest.raises(IndexError, match="window 1 of 1"):
        SequenceBatches([[1, 2]], None, 2)[1]
