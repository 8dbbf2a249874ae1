"""Effective memory on a source of which it is known how far back one has to look."""

import pytest
import torch

from rnnlab.data.windows import Window
from rnnlab.inspection.memory import effective_memory


def sequences(rows=5, steps=32):
    return torch.randint(1, 100, (steps, rows), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("back", [1, 5])
def test_a_reader_of_the_step_so_far_back_needs_that_many_and_no_other(back, generator):
    inputs = sequences()
    targets = inputs.roll(back - 1, 0)

    def judge(window):
        if len(window.inputs) < back:
            return 1.0
        return float((window.inputs[-back] != window.targets[0]).float().mean())

    window = Window(inputs, targets, None, torch.ones(5, dtype=torch.bool))
    memory = effective_memory(judge, window, generator, num_places=40)
    assert memory.lengths == [1, 2, 4, 8, 16, 24]
    assert memory.truncated == [float(n < back) for n in memory.lengths]
    assert memory.effective == {1: 1, 5: 8}[back]
    # Steps within the last n stand where they stood; of those further back, some other one stands there.
    assert memory.shuffled[3:] == memory.thinned[3:] == [0.0] * 3
    if back == 5:
        assert min(memory.shuffled[:3]) > 0.5
        assert min(memory.thinned[:3]) > 0.3


def test_a_reader_of_a_bag_does_not_mind_the_order_but_misses_what_is_left_out(generator):
    inputs = torch.ones(16, 6, 1)
    lengths = torch.tensor([16, 16, 10, 16, 4, 16])
    window = Window(inputs, lengths.float(), lengths, torch.ones(6, dtype=torch.bool))

    def judge(window):
        size = window.lengths if window.lengths is not None else torch.full((6,), len(window.inputs))
        read = torch.stack([window.inputs[: int(n), row].sum() for row, n in enumerate(size)])
        return float((read - window.targets).abs().mean())

    memory = effective_memory(judge, window, generator, num_places=99)
    assert memory.lengths == [1, 2, 4, 8, 16]
    assert memory.truncated == [float((lengths - n).clamp(min=0).float().mean()) for n in memory.lengths]
    assert memory.shuffled == [0.0] * 5
    assert memory.thinned[0] == pytest.approx(float(((lengths - 1 + 1) // 2).float().mean()), abs=0.6)
    assert memory.thinned[-1] == 0.0
    assert memory.effective == 16
