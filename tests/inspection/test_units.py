"""Stuck, dead and keeping units, and spectral radii, on layers set by hand."""

import math

import pytest
import torch

from rnnlab.cells import GRU, LSTM, RNN
from rnnlab.inspection.chains import unroll
from rnnlab.inspection.units import spectral_radii, unit_facts


def chain_of(layer, lengths=None):
    for parameter in layer.parameters():
        parameter.detach().zero_()
    return layer.double(), lambda: unroll(layer, torch.ones(6, 2, 1, dtype=torch.float64), None, lengths)[0]


def test_dead_relus_and_saturated_tanhs_are_counted_at_valid_steps():
    layer, chain = chain_of(RNN(1, 4, nonlinearity="relu"), torch.tensor([6, 3]))
    layer.bias_ih_l0.detach().copy_(torch.tensor([1.0, 1.0, -1.0, 0.0]))
    assert unit_facts(chain()) == pytest.approx({"zero": 0.5, "dead": 0.5})
    layer, chain = chain_of(RNN(1, 4))
    layer.bias_ih_l0.detach().copy_(torch.tensor([9.0, -9.0, 1.0, 0.0]))
    assert unit_facts(chain()) == pytest.approx({"saturated": 0.5})


@pytest.mark.parametrize(("kind", "gate"), [(LSTM, "forget"), (GRU, "update")])
def test_a_gate_that_keeps_a_share_f_keeps_for_one_over_minus_log_f_steps(kind, gate):
    layer, chain = chain_of(kind(1, 2))
    layer.bias_ih_l0.detach()[2:4] = torch.logit(torch.tensor([0.95, 0.95], dtype=torch.float64))
    facts = unit_facts(chain())
    assert facts["memory_steps"] == pytest.approx(1 / -math.log(0.95))
    assert facts["longest_memory_steps"] == pytest.approx(1 / -math.log(0.95))
    assert (facts[f"{gate}_right"], facts[f"{gate}_left"], facts["saturated"]) == (1.0, 0.0, 0.0)


def test_a_radius_is_that_of_each_gates_block():
    layer, chain = chain_of(GRU(1, 3))
    for number in range(3):
        layer.weight_hh_l0.detach()[3 * number : 3 * number + 3] = torch.diag(torch.tensor([0.1, -1.0, 0.5])) * number
    assert spectral_radii(chain()) == pytest.approx({"reset": 0.0, "update": 1.0, "new": 2.0})
