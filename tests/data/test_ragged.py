import numpy as np
import pytest

from rnnlab.data.ragged import Ragged, from_arrays, pack_texts, to_arrays, unpack_texts


def test_sequences_end_to_end_are_views_of_one_array():
    ragged = Ragged.of([[7, 8], [], [9]])
    assert ragged.values.tolist() == [7, 8, 9]
    assert ragged.values.dtype == np.int32
    assert ragged.offsets.tolist() == [0, 2, 2, 3]
    assert ragged.sizes.tolist() == [2, 0, 1]
    assert [one.tolist() for one in ragged] == [[7, 8], [], [9]]
    assert np.shares_memory(ragged[0], ragged.values)


def test_indices_from_the_end_and_slices_work_as_in_a_list():
    ragged = Ragged.of([[1], [2, 3], [4]])
    assert ragged[-1].tolist() == [4]
    assert [one.tolist() for one in ragged[:2]] == [[1], [2, 3]]
    with pytest.raises(IndexError, match="sequence 3 of 3"):
        ragged[3]


def test_no_sequence_at_all():
    assert len(Ragged.of([])) == 0


def test_texts_come_back_as_they_were():
    texts = ["it's", "", "naïve 🎼", "\ud800 alone", "two\nlines"]
    assert unpack_texts(pack_texts(texts)) == texts


def test_several_go_through_named_arrays():
    arrays = to_arrays({"a": Ragged.of([[1, 2]]), "b": pack_texts(["x"])})
    assert sorted(arrays) == ["a", "a_offsets", "b", "b_offsets"]
    assert from_arrays(arrays, "a")[0].tolist() == [1, 2]
    assert unpack_texts(from_arrays(arrays, "b")) == ["x"]
