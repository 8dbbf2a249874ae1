"""Nothing is timed that does not compute the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rnnlab.benchmarks.cases import MODES, NUM_GATES, Case, Shape
from rnnlab.benchmarks.parity import ParityError, check_parity, contenders, make_data, relative_error, results
from rnnlab.cells import backends
from rnnlab.cells.auto import Asked, BackendChoice

SMALL = Shape("tiny", 3, 5, 4, 6)


def check(case: Case) -> dict[str, dict[str, float]]:
    return check_parity(case, contenders(case), make_data(case))


@pytest.mark.parametrize("cell", NUM_GATES)
@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "bf16"])
def test_rnnlab_computes_what_torch_nn_computes(mode: str, cell: str):
    errors = check(Case(mode, cell, SMALL))["cpu"]
    assert max(errors.values()) < 1e-5  # rounding of float32 over five steps
    assert ("gradient of weight_hh_l0" in errors) == (mode in ("train", "packed"))


@pytest.mark.parametrize("cell", NUM_GATES)
def test_bfloat16_is_held_against_float32(cell: str):
    # Factors of 8 bits: errors can be neither those of float32 nor, in so small a layer, above a few hundredths.
    assert 1e-4 < max(check(Case("bf16", cell, SMALL))["cpu"].values()) < 5e-2


def test_outputs_states_and_all_gradients_are_compared():
    case = Case("train", "lstm", SMALL)
    found = results(case, contenders(case)[0], make_data(case))
    given = ["x", "h_0", "c_0", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
    assert list(found) == ["y", "h_n", "c_n", *(f"gradient of {name}" for name in given)]
    assert all(value.norm() > 0 for value in found.values())


def wrong_values(y: Tensor) -> Tensor:
    return y * 1.001


def wrong_gradients(y: Tensor) -> Tensor:
    return y + 0.001 * (y - y.detach())


def no_numbers(y: Tensor) -> Tensor:
    return y * torch.nan


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (wrong_values, r"train gru tiny: y of cpu \(cpu\) is 1.0e-03 away from torch.nn's, wanted at most 1e-04"),
        (wrong_gradients, r"train gru tiny: gradient of \w+ of cpu \(cpu\) is \d.\de-04 away"),
        (no_numbers, r"train gru tiny: y of cpu \(cpu\) is nan away"),
    ],
)
def test_a_wrong_engine_is_refused(monkeypatch: pytest.MonkeyPatch, wrong, message: str):
    right = backends.ENGINES["cpu"]

    def run(*arguments):
        y, state = right.run(*arguments)
        return wrong(y), state

    monkeypatch.setitem(backends.ENGINES, "cpu", right._replace(run=run))
    with pytest.raises(ParityError, match=message):
        check(Case("train", "gru", SMALL))


@pytest.mark.parametrize(("chosen", "names"), [("cpu", ["torch.nn", "cpu"]), ("torch", ["torch.nn", "cpu", "auto"])])
def test_auto_takes_part_where_it_is_another(monkeypatch: pytest.MonkeyPatch, chosen: str, names: list[str]):
    asked: list[Asked] = []

    def choose(backend: str, call: Asked) -> BackendChoice:
        asked.append(call)
        return BackendChoice(chosen, "a test")

    monkeypatch.setattr("rnnlab.benchmarks.parity.choose_backend", choose)
    assert [way.name for way in contenders(Case("packed", "rnn", SMALL))] == names
    assert [way.name for way in contenders(Case("token", "gru", SMALL))] == names
    assert [(call.cell, call.needs_grad, call.has_lengths, call.shape) for call in asked] == [
        ("rnn_tanh", True, True, (5, 3)),
        ("gru", False, False, (1, 3)),
    ]


def test_data_are_the_same_for_the_same_case_and_lengths_differ():
    first, second = (make_data(Case("packed", "lstm", Shape("tiny", 40, 7, 4, 6))) for _ in range(2))
    assert first.lengths is not None
    assert second.lengths is not None
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.lengths, second.lengths)
    assert set(first.lengths.tolist()) == set(range(1, 8))
    assert first.num_steps == int(first.lengths.sum()) < 40 * 7


def test_an_error_is_relative_unless_nothing_was_expected():
    assert relative_error(torch.tensor([3.0, 4.5]), torch.tensor([3.0, 4.0])) == 0.1
    assert relative_error(torch.tensor([0.25]), torch.zeros(1)) == 0.25
