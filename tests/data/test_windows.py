import torch

from rnnlab.data.windows import Window

STARTS = torch.tensor([True, False])


def language_window(lengths):
    return Window(torch.zeros(3, 2).long(), torch.ones(3, 2).long(), lengths, STARTS)


def test_without_lengths_every_step_is_a_target():
    assert language_window(None).num_targets == 6


def test_lengths_say_how_many_targets_count():
    assert language_window(torch.tensor([3, 0])).num_targets == 3


def test_classes_count_one_a_row():
    window = Window(torch.zeros(3, 2).long(), torch.tensor([1, 0]), torch.tensor([3, 1]), STARTS)
    assert window.num_targets == 2


def test_to_moves_every_tensor_and_keeps_missing_lengths_missing():
    moved = language_window(None).to("meta")
    assert moved.lengths is None
    assert {moved.inputs.device.type, moved.targets.device.type, moved.starts.device.type} == {"meta"}
    assert language_window(torch.tensor([3, 0])).to(torch.device("cpu")).lengths.tolist() == [3, 0]


def test_a_window_is_filled_with_another_of_its_shape():
    mine = Window(torch.zeros(3, 2).long(), torch.ones(3, 2).long(), torch.tensor([3, 0]), STARTS.clone())
    theirs = Window(torch.full((3, 2), 4), torch.full((3, 2), 5), torch.tensor([1, 2]), torch.tensor([False, True]))
    addresses = [part.data_ptr() for part in (mine.inputs, mine.targets, mine.lengths, mine.starts)]
    mine.fill(theirs)
    parts = (mine.inputs, mine.targets, mine.lengths, mine.starts)
    assert [part.data_ptr() for part in parts] == addresses
    for part, wanted in zip(parts, (theirs.inputs, theirs.targets, theirs.lengths, theirs.starts), strict=True):
        assert part.equal(wanted)
    without = Window(mine.inputs, mine.targets, None, mine.starts)
    without.fill(Window(theirs.targets, theirs.inputs, None, STARTS))
    assert without.inputs.equal(theirs.targets)
