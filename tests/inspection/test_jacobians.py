"""Singular values by lag equal those of autograd's full Jacobian; a linear RNN forgets at its spectral radius."""

import math

import pytest
import torch

from rnnlab.inspection.chains import unroll
from rnnlab.inspection.jacobians import carry_curve, decay, extremes, lag_curve, lyapunov_exponents

KINDS = ["rnn", "irnn", "lstm", "gru"]
T = 8


def chains_of(model, rows=3, lengths=None):
    torch.manual_seed(1)
    return unroll(model.recurrent, model.embedding(torch.randint(7, (T, rows))), None, lengths)


@pytest.mark.parametrize("kind", KINDS)
def test_singular_values_are_those_of_the_full_jacobian(small, full_jacobian, generator, kind):
    chain = chains_of(small(kind, num_layers=2))[1]
    for lag in (1, 3, T - 1):
        largest, smallest = extremes(chain, T, lag, generator, iterations=9)
        curve = lag_curve(chain, [T], lag, generator, num_probes=9)
        full = torch.stack([full_jacobian(chain, T, lag, row) for row in range(3)])
        values = torch.linalg.svdvals(full)
        # float64: a few units in the last place of the largest value
        scale = float(values.max())
        torch.testing.assert_close(largest, values[:, 0], rtol=0, atol=1e-12 * max(1.0, scale))
        torch.testing.assert_close(smallest, values[:, -1], rtol=0, atol=1e-12 * max(1.0, scale))
        assert float(curve[lag]) == pytest.approx(float(full.square().sum((1, 2)).mean() / 5) ** 0.5, rel=1e-12)
        assert float(curve[0]) == pytest.approx(1.0)


def test_fewer_iterations_find_the_largest_and_bound_the_smallest(on_zero, generator):
    torch.manual_seed(2)
    weight = torch.randn(40, 40, dtype=torch.float64) / 40**0.5
    values = torch.linalg.svdvals(weight)
    largest, smallest = extremes(on_zero(weight, 3), 2, 1, generator, iterations=24)
    assert float(largest) == pytest.approx(float(values[0]), rel=1e-5)
    assert float(values[-1]) < float(smallest) < float(values[0])


def test_few_probes_estimate_the_mean_and_rank_deficiency_is_no_trouble(on_zero, generator):
    torch.manual_seed(3)
    weight = torch.randn(40, 40, dtype=torch.float64) / 40**0.5
    true = float(weight.square().sum() / 40) ** 0.5
    # a mean over 20 of 40 directions: within a tenth
    assert float(lag_curve(on_zero(weight, 3), [2], 1, generator, num_probes=20)[1]) == pytest.approx(true, rel=0.1)
    weight[:, 5:] = 0
    weight[5:] = 0
    largest, smallest = extremes(on_zero(weight, 3), 2, 1, generator, iterations=40)
    assert float(largest) == pytest.approx(float(torch.linalg.matrix_norm(weight, 2)), rel=1e-12)
    assert float(smallest) == pytest.approx(0.0, abs=1e-14)


@pytest.mark.parametrize("radius", [0.8, 1.0, 1.15])
def test_a_linear_rnns_lag_slope_is_the_log_of_its_spectral_radius(on_zero, generator, radius):
    torch.manual_seed(4)
    turning = radius * torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    curve = lag_curve(on_zero(turning, 31), [30], 30, generator, num_probes=2)
    assert decay(curve) == pytest.approx(math.log(radius), abs=1e-12)
    torch.testing.assert_close(curve, radius ** torch.arange(31, dtype=torch.float64))
    exponents = lyapunov_exponents(on_zero(turning, 31), 6, generator)
    torch.testing.assert_close(exponents, torch.full((6,), math.log(radius), dtype=torch.float64))
    # Any other matrix gets there in the long run: the powers are ruled by the largest eigenvalue.
    free = torch.randn(6, 6, dtype=torch.float64)
    free = free * radius / float(torch.linalg.eigvals(free).abs().max())
    long = lag_curve(on_zero(free, 241), [240], 240, generator, num_probes=6)
    assert decay(long) == pytest.approx(math.log(radius), abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_lyapunov_exponents_add_up_to_the_mean_log_determinant(small, full_jacobian, generator, kind):
    (chain,) = chains_of(small(kind), rows=1)
    parts = len(chain.states[0])
    exponents = lyapunov_exponents(chain, 99, generator)
    assert len(exponents) == 5 * parts
    assert exponents.tolist() == sorted(exponents.tolist(), reverse=True)
    total = 0.0
    for t in range(T):

        def step(state, t=t):
            return torch.cat(chain.step(chain.x[t], tuple(state.reshape(parts, 1, 5))), -1)[0]

        matrix = torch.autograd.functional.jacobian(step, torch.cat(chain.states[t], -1)[0])
        total += float(torch.linalg.slogdet(matrix).logabsdet)
    if math.isfinite(total):  # a ReLU that is closed has no volume left
        assert float(exponents.sum()) == pytest.approx(total / T, rel=1e-9)


def test_the_paths_of_an_lstm_are_the_forget_gates_and_the_rest(small, generator):
    (chain,) = chains_of(small("lstm"), rows=1)
    weights = chain.weights
    product, through_h = torch.ones(5, dtype=torch.float64), torch.eye(5, dtype=torch.float64)
    carried = carry_curve(chain, [T], 3)
    hidden = lag_curve(chain, [T], 3, generator, num_probes=5, path="hidden")
    for lag in range(1, 4):
        h, c = (s[0] for s in chain.states[T - lag])

        def h_after(h, c=c, x=chain.x[T - lag]):
            return chain.step(x, (h[None], c[None].detach()))[0][0]

        a = weights.weight_ih @ chain.x[T - lag, 0] + weights.bias_ih + weights.weight_hh @ h + weights.bias_hh
        product = product * a[5:10].sigmoid()
        through_h = through_h @ torch.autograd.functional.jacobian(h_after, h)
        assert float(carried[lag]) == pytest.approx(float(product.square().mean()) ** 0.5, rel=1e-12)
        assert float(hidden[lag]) == pytest.approx(float(through_h.square().sum() / 5) ** 0.5, rel=1e-12)
    assert carry_curve(chains_of(small("rnn"))[0], [T], 3) is None
    assert carry_curve(chains_of(small("gru"))[0], [T], 3).shape == (4,)


def test_rows_that_end_before_are_not_counted(small, generator):
    model = small("gru")
    (chain,) = chains_of(model, lengths=torch.tensor([T, 2, 5]))
    alone = unroll(model.recurrent, chain.x[:, :1])
    curve = lag_curve(chain, [T], 4, generator, num_probes=5)
    torch.testing.assert_close(curve, lag_curve(alone[0], [T], 4, generator, num_probes=5), rtol=1e-12, atol=0)


def test_the_slope_of_a_curve_that_falls_to_nothing_is_minus_infinity():
    assert decay(torch.tensor([1.0, 0.5, 0.25, 0.125])) == pytest.approx(math.log(0.5))
    assert decay(torch.tensor([1.0, 0.5, 0.0])) == -math.inf
