"""Sequences drawn from the seed: what they hold, and that every window is a pure function of (seed, epoch, index)."""

import math

import numpy as np
import pytest
import torch

from rnnlab.data import synthetic
from rnnlab.data.synthetic import BLANK, MARK, MEMORY_LEN, NUM_SYMBOLS, DrawnBatches

RNG = np.random.default_rng


def flights(generator, count):
    return synthetic.ball(generator, count, 12, 0.2, 0.1)


def sums(generator, count):
    return synthetic.adding(generator, count, 6)


def test_a_sum_is_of_the_two_marked_numbers_one_in_each_half():
    inputs, targets = synthetic.adding(RNG(0), 500, 7)
    assert inputs.shape == (7, 500, 2)
    marks = inputs[..., 1]
    assert marks[:3].sum(0).eq(1).all()
    assert marks[3:].sum(0).eq(1).all()
    assert marks.sum(1).gt(0).all(), "every step may be marked"
    torch.testing.assert_close(targets, (inputs[..., 0] * marks).sum(0))


def test_always_saying_one_costs_a_sixth():
    _, targets = synthetic.adding(RNG(1), 200_000, 4)
    # The mean of 200,000 squares with a standard deviation of 0.2 is within five of its standard errors.
    assert float((targets - 1).square().mean()) == pytest.approx(1 / 6, abs=0.0025)


def test_symbols_are_to_be_repeated_after_the_delay_and_the_mark():
    inputs, targets = synthetic.copying(RNG(0), 40, 4)
    assert inputs.shape == targets.shape == (24, 40)
    assert inputs[:MEMORY_LEN].lt(NUM_SYMBOLS).all()
    assert targets[-MEMORY_LEN:].equal(inputs[:MEMORY_LEN])
    assert targets[:-MEMORY_LEN].eq(BLANK).all()
    assert (inputs == MARK).nonzero()[:, 0].unique().tolist() == [13], "the last ten steps come after it"
    assert inputs[:MEMORY_LEN].unique().tolist() == list(range(NUM_SYMBOLS))


def test_a_ball_flies_straight_at_constant_speed_and_walls_throw_it_back():
    radius, speed = 0.2, 0.1
    inputs, targets = synthetic.ball(RNG(0), 300, 60, radius, speed)
    assert inputs[1:].equal(targets[:-1])
    path = torch.cat([inputs, targets[-1:]])
    assert float(path.abs().max()) <= 1 - radius + 1e-6
    steps = path.diff(dim=0)
    free = (path[:-1].abs() < 0.7).all(-1) & (path[1:].abs() < 0.7).all(-1)
    # float32 positions below 1 have seven digits, their differences six
    torch.testing.assert_close(steps.norm(dim=-1)[free], torch.full((int(free.sum()),), speed), rtol=0, atol=1e-6)
    turned = steps[1:].sign() != steps[:-1].sign()
    near_a_wall = path[1:-1].abs() > 1 - radius - speed
    assert turned.any()
    assert (turned & ~near_a_wall).sum() == 0


@pytest.mark.parametrize("bptt_len", [None, 5])
def test_windows_are_a_pure_function_of_seed_epoch_and_index(bptt_len):
    def batches(seed=3, epoch=0):
        return DrawnBatches(flights, 20, 8, seed=seed, split="train", epoch=epoch, bptt_len=bptt_len)

    source = batches()
    assert len(source) == 3 * (1 if bptt_len is None else 3)
    straight = [source[index].inputs for index in range(len(source))]
    for index in reversed(range(len(source))):
        assert batches()[index].inputs.equal(straight[index])
        assert source[index].inputs.equal(straight[index])
    assert not batches(epoch=1)[0].inputs.equal(straight[0])
    assert source.at_epoch(1)[0].inputs.equal(batches(epoch=1)[0].inputs)
    assert not batches(seed=4)[0].inputs.equal(straight[0])


def test_windows_of_a_batch_follow_each_other_and_only_the_first_starts():
    source = DrawnBatches(flights, 10, 4, seed=0, split="train", bptt_len=5)
    windows = [source[index] for index in range(len(source))]
    assert [window.inputs.shape[:2] for window in windows] == [(5, 4), (5, 4), (2, 4)] * 2 + [(5, 2), (5, 2), (2, 2)]
    assert [bool(window.starts.all()) for window in windows] == [True, False, False] * 3
    whole = DrawnBatches(flights, 10, 4, seed=0, split="train")[0]
    assert torch.cat([window.inputs for window in windows[:3]]).equal(whole.inputs)
    assert torch.cat([window.targets for window in windows[:3]]).equal(whole.targets)
    assert sum(window.num_targets for window in windows) == source.num_targets == 10 * 12
    with pytest.raises(IndexError, match="window 9 of 9"):
        source[9]


def test_scored_sequences_are_the_same_whatever_the_batch_size():
    found = []
    for batch_size in (1, 4, 100):
        source = DrawnBatches(sums, 10, batch_size, seed=0, split="valid")
        windows = [source[index] for index in range(len(source))]
        found.append(torch.cat([window.inputs for window in windows], dim=1))
        assert torch.cat([window.targets for window in windows]).shape == (10,)
        assert source.num_targets == 10
    assert found[0].equal(found[1])
    assert found[0].equal(found[2])
    test = DrawnBatches(sums, 10, 100, seed=0, split="test")[0]
    assert not test.inputs.equal(found[0])


def test_a_window_of_numbers_counts_steps_and_targets_by_rows():
    window = DrawnBatches(sums, 10, 4, seed=0, split="train")[0]
    assert (window.num_tokens, window.num_targets) == (24, 4)
    window = DrawnBatches(flights, 10, 4, seed=0, split="train")[0]
    assert (window.num_tokens, window.num_targets) == (48, 48)
    assert math.prod(window.targets.shape) == 96
