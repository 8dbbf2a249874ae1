"""How a pass is cut into programs."""

from __future__ import annotations

import pytest
import torch

from rnnlab.cells.triton.plan import Device, Plan, Shape, choose_plan, cut, overridden, padded_size, shared_memory

H100 = Device(processors=132, shared_memory=227 * 1024)
SMALL = Device(processors=20, shared_memory=99 * 1024)


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def lstm(hidden_size: int, batch: int, directions: int = 1, itemsize: int = 2, backward: bool = True) -> Shape:
    return Shape(4, padded_size(hidden_size), batch, directions, itemsize, backward)


def test_padded_sizes_are_powers_of_two_up_to_128_and_then_multiples_of_16() -> None:
    assert [padded_size(size) for size in (1, 16, 17, 65, 128, 129, 650, 1150)] == [
        16,
        16,
        32,
        128,
        128,
        144,
        656,
        1152,
    ]


@pytest.mark.parametrize("size", [16, 64, 144, 656, 1152, 2000])
def test_chunks_are_powers_of_two_that_add_up_with_the_short_ones_last(size) -> None:
    chunks = cut(size, 256)
    assert sum(chunks) == size
    assert all(chunk & (chunk - 1) == 0 and 16 <= chunk <= 256 for chunk in chunks)
    assert list(chunks) == sorted(chunks, reverse=True)


@pytest.mark.parametrize("extras", [False, True])
@pytest.mark.parametrize("device", [H100, SMALL])
@pytest.mark.parametrize("itemsize", [2, 4])
@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_a_plan_fits_its_gpu_whatever_the_shape(gates, backward, itemsize, device, extras) -> None:
    for hidden_size in (5, 100, 200, 650, 1024, 2048):
        for batch in (1, 20, 64, 512):
            for directions in (1, 2):
                size = padded_size(hidden_size)
                shape = Shape(gates, size, batch, directions, itemsize, backward, extras=extras)
                plan = choose_plan(shape, device)
                assert shared_memory(plan, shape) <= device.shared_memory
                assert sum(plan.chunks) == shape.size
                programs = plan.num_programs(shape.size, batch, directions)
                assert plan.mode != "grid" or programs <= device.processors
                assert plan.mode != "solo" or plan.grid(shape.size, batch, directions)[0] == 1


def test_small_layers_need_no_barrier_and_layers_with_too_many_programs_one_launch_a_step() -> None:
    assert choose_plan(lstm(100, 20), H100).mode == "solo"
    assert choose_plan(lstm(650, 32), H100).mode == "grid"
    assert choose_plan(lstm(1024, 64), H100).num_programs(1024, 64, 1) == 128
    assert choose_plan(lstm(2048, 64), H100).mode == "grid"
    assert choose_plan(lstm(2048, 512), H100).mode == "step"
    assert choose_plan(lstm(650, 128), SMALL).mode == "step"


def test_weights_that_do_not_fit_are_read_anew_each_step() -> None:
    plan = choose_plan(lstm(1150, 20, itemsize=4), H100)
    assert (plan.mode, plan.resident) == ("grid", False)
    exact = Shape(4, 656, 32, 1, 4, False, precision="tf32x3")
    assert not choose_plan(exact, H100).resident


def test_extras_leave_plans_as_they_are_but_where_registers_run_out() -> None:
    def plans(gates: int, hidden_size: int, backward: bool, itemsize: int = 2) -> tuple[Plan, Plan]:
        shape = Shape(gates, padded_size(hidden_size), 32, 1, itemsize, backward)
        return choose_plan(shape, H100), choose_plan(shape._replace(extras=True), H100)

    for gates, hidden_size, backward in ((4, 650, True), (3, 64, True), (4, 128, False), (1, 128, True)):
        plain, with_extras = plans(gates, hidden_size, backward)
        assert plain == with_extras
    plain, with_extras = plans(3, 128, backward=True)
    assert (plain.mode, with_extras.mode) == ("solo", "grid")
    plain, with_extras = plans(1, 1150, backward=True, itemsize=4)
    assert (plain.resident, with_extras.resident) == (True, False)


def test_a_grid_that_cannot_run_at_once_is_refused_with_the_numbers() -> None:
    with (
        overridden(mode="grid", block_units=16),
        pytest.raises(ValueError, match=r"its 256 programs .* sure to run 132; use mode 'step'"),
    ):
        choose_plan(lstm(1024, 64, directions=2), H100)
    assert choose_plan(lstm(1024, 64, directions=2), H100).mode == "grid"


def test_the_interpreter_runs_one_program_after_the_other_so_no_plan_lets_them_wait(monkeypatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_plan(lstm(650, 32), H100).mode == "step"
    assert choose_plan(lstm(100, 20), H100).mode == "solo"


def test_a_device_that_is_no_gpu_counts_as_an_h100() -> None:
    assert Device.of(torch.device("cpu")) == H100
