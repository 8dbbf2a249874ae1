import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnlab.data.columns import ColumnWindows, batchify, random_edges
from rnnlab.errors import DataError

sizes = {"num_tokens": st.integers(2, 200), "batch_size": st.integers(1, 12), "bptt_len": st.integers(1, 40)}


def windows_of(source):
    return [source[index] for index in range(len(source))]


def stitched(source):
    """Inputs and targets of each column, windows put end to end, padding cut off."""
    columns = [([], []) for _ in range(source.batch_size)]
    for window in windows_of(source):
        steps = window.inputs.shape[0]
        lengths = [steps] * source.batch_size if window.lengths is None else window.lengths.tolist()
        for b, (inputs, targets) in enumerate(columns):
            inputs += window.inputs[: lengths[b], b].tolist()
            targets += window.targets[: lengths[b], b].tolist()
    return columns


def test_the_alphabet_stands_in_columns_as_drawn():
    columns, lengths = batchify([ord(letter) for letter in "abcdefghijkl"], 3)
    drawn = ["".join(chr(c) if c else "." for c in row) for row in columns.tolist()]
    assert drawn == ["aei", "bfj", "cgk", "dhl", "ei."]
    assert lengths.tolist() == [4, 4, 3]


@settings(max_examples=150)
@given(**sizes, random_lengths=st.booleans())
def test_every_token_but_the_first_is_predicted_once_from_the_one_before(
    num_tokens, batch_size, bptt_len, random_lengths
):
    batch_size = min(batch_size, num_tokens - 1)
    source = ColumnWindows(torch.arange(num_tokens), batch_size, bptt_len, random_lengths=random_lengths)
    columns = stitched(source)
    assert [i for inputs, _ in columns for i in inputs] == list(range(num_tokens - 1))
    assert [t for _, targets in columns for t in targets] == list(range(1, num_tokens))
    assert source.num_targets == num_tokens - 1 == sum(window.num_targets for window in windows_of(source))


@settings(max_examples=50)
@given(**sizes)
def test_columns_differ_by_one_step_at_most_and_only_the_last_window_shows_it(num_tokens, batch_size, bptt_len):
    batch_size = min(batch_size, num_tokens - 1)
    *others, last = windows_of(ColumnWindows(range(num_tokens), batch_size, bptt_len))
    assert all(window.lengths is None and window.inputs.shape[0] == bptt_len for window in others)
    if last.lengths is not None:
        assert int(last.lengths.max() - last.lengths.min()) == 1
        assert (last.targets[-1][last.lengths < last.lengths.max()] == 0).all()


def test_only_the_first_window_starts_sequences():
    starts = [window.starts.tolist() for window in windows_of(ColumnWindows(range(21), 2, 4))]
    assert starts == [[True, True], [False, False], [False, False]]


def test_one_column_is_the_text_as_one_stream():
    source = ColumnWindows([5, 6, 7, 8, 9], 1, 3)
    assert stitched(source) == [([5, 6, 7, 8], [6, 7, 8, 9])]
    assert all(window.lengths is None for window in windows_of(source))


def test_random_lengths_follow_the_seed_and_the_epoch_and_nothing_else():
    edges = random_edges(5000, 70, seed=3, epoch=2)
    torch.manual_seed(0)
    assert edges == random_edges(5000, 70, seed=3, epoch=2)
    assert edges != random_edges(5000, 70, seed=3, epoch=1)
    assert edges != random_edges(5000, 70, seed=4, epoch=2)


def test_random_lengths_have_the_mean_and_bounds_of_their_description():
    edges = random_edges(1_000_000, 70, seed=0, epoch=0)
    steps = torch.tensor(edges).diff()[:-1].double()
    assert steps.min() >= 5
    assert steps.max() <= 90
    # 0.95 * 70 + 0.05 * 35, less a half for rounding down; the mean of 14,000 windows has a deviation of 0.08.
    assert steps.mean().item() == pytest.approx(67.75, abs=0.4)


def test_another_epoch_shares_the_columns_and_moves_the_windows():
    source = ColumnWindows(range(2000), 4, 20, random_lengths=True, seed=1)
    later = source.at_epoch(5)
    fresh = ColumnWindows(range(2000), 4, 20, random_lengths=True, seed=1, epoch=5)
    assert [len(w.inputs) for w in windows_of(later)] == [len(w.inputs) for w in windows_of(fresh)]
    assert [len(w.inputs) for w in windows_of(later)] != [len(w.inputs) for w in windows_of(source)]
    assert later[0].inputs.data_ptr() == source[0].inputs.data_ptr()


def test_a_text_shorter_than_the_batch_needs_says_how_many_tokens_it_wants():
    assert len(ColumnWindows(range(21), 20, 35)) == 1
    with pytest.raises(DataError, match="got 20 tokens, wanted at least 21 for 20 columns"):
        ColumnWindows(range(20), 20, 35)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"bptt_len": 0}, "bptt_len must be at least 1, got 0"),
        ({"epoch": -1}, "got 0 and -1"),
        ({"ids": [[1, 2], [3, 4]]}, r"one dimension, got shape \(2, 2\)"),
    ],
)
def test_arguments_out_of_range_are_refused_with_the_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        ColumnWindows(**{"ids": range(9), "batch_size": 2, "bptt_len": 3, **arguments})


def test_a_window_past_the_end_is_an_index_error():
    source = ColumnWindows(range(9), 2, 3)
    with pytest.raises(IndexError, match="window 2 of 2"):
        source[2]
