"""What is measured, and how much arithmetic it is."""

from __future__ import annotations

import pytest

from rnnlab.benchmarks.cases import MODES, NUM_GATES, SHAPES, TOKEN_SHAPES, Case, list_cases


@pytest.mark.parametrize(
    ("mode", "cell", "flop"),
    [
        ("train", "gru", 3 * 2 * 32 * 35 * (200 + 200) * 3 * 200),
        ("inference", "lstm", 2 * 32 * 35 * (200 + 200) * 4 * 200),
        ("bf16", "rnn", 3 * 2 * 32 * 35 * (200 + 200) * 200),
    ],
)
def test_products_are_counted_three_times_where_there_is_a_backward_pass(mode: str, cell: str, flop: int):
    assert Case(mode, cell, SHAPES["S"]).gflop(32 * 35) == pytest.approx(flop * 1e-9, rel=1e-12)  # rounding alone


def test_only_valid_steps_count_and_the_second_layer_reads_the_first():
    whole, half = (Case("packed", "gru", SHAPES["M"]).gflop(steps) for steps in (700, 350))
    assert whole == pytest.approx(2 * half)
    token = Case("token", "lstm", TOKEN_SHAPES[0])
    assert token.gflop(1) == pytest.approx(2 * (2 * 512 + 2 * 512) * 4 * 512 * 1e-9)
    assert (token.calls, Case("train", "lstm", SHAPES["S"]).calls) == (64, 1)


def test_every_mode_has_every_cell_and_shape_and_tokens_have_shapes_of_their_own():
    cases = list_cases(SHAPES.values(), NUM_GATES, MODES)
    assert len(cases) == 4 * 3 * 5 + 3 * 3
    assert {case.shape.batch_size for case in cases if case.mode == "token"} == {1, 8, 64}
    assert str(cases[0]) == "train lstm S"
