"""Where recurrent weights start: functions that fill a layer in place and return it.

Each takes any module with torch.nn's parameter names, so torch.nn.LSTM too. Randomness comes from torch's global
generator, parameter by parameter in the order of `layer.parameters()`.

Shapes: I input_size, H hidden_size, G gates per cell (RNN 1, GRU 3, LSTM 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

INITIALISATIONS = ("default", "identity", "orthogonal", "uniform", "chrono")
"""Every name the setting `initialisation` takes."""

Layer = TypeVar("Layer", bound=nn.Module)


def default_(layer: Layer) -> Layer:
    """Draw every weight and bias from U(-1/sqrt(H), 1/sqrt(H)): torch.nn's choice, with its draws in its order."""
    return uniform_(layer, 1 / math.sqrt(_hidden_size(layer)))


def uniform_(layer: Layer, init_range: float) -> Layer:
    """Draw every weight and bias from U(-init_range, init_range).

    Raises:
        ValueError: init_range is not positive and finite.

    Source: Zaremba, Sutskever & Vinyals 2014, section 4.1 (0.05 and 0.04 for their medium and large language model).
    """
    if not 0 < init_range < math.inf:
        raise ValueError(f"init_range must be greater than 0 and finite, got {init_range}")
    for _, parameter in _recurrent_parameters(layer):
        nn.init.uniform_(parameter, -init_range, init_range)
    return layer


def identity_(layer: Layer, input_std: float = 0.001) -> Layer:
    """Make a simple recurrent network an IRNN: W_hh = I, biases 0, W_ih from N(0, input_std^2).

    The state is then copied from step to step and gradients neither grow nor shrink until training moves it. Meant for
    nonlinearity='relu'. The small input weights are the paper's, in every layer.

    Raises:
        ValueError: the layer is gated; its state passes through gates and not through W_hh.

    Source: Le, Jaitly & Hinton 2015.
    """
    for name, parameter in _recurrent_parameters(layer):
        if name.startswith("weight_hh"):
            if _num_gates(parameter) != 1:
                raise ValueError(
                    f"initialisation 'identity' is for an RNN, got {type(layer).__name__};"
                    " use 'orthogonal', or 'chrono' to keep its gates open"
                )
            nn.init.eye_(parameter)
        elif name.startswith("weight_ih"):
            nn.init.normal_(parameter, std=input_std)
        else:
            nn.init.zeros_(parameter)
    return layer


def orthogonal_(layer: Layer, gain: float = 1.0) -> Layer:
    """Make each gate's block (H, H) of W_hh orthogonal, each block of W_ih Glorot uniform, and biases 0.

    Source: Saxe, McClelland & Ganguli 2014 (orthogonal); Glorot & Bengio 2010 (input weights).
    """
    hidden_size = _hidden_size(layer)
    for name, parameter in _recurrent_parameters(layer):
        if name.startswith("bias"):
            nn.init.zeros_(parameter)
            continue
        for block in parameter.detach().split(hidden_size):
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(block)
            elif block.is_meta:
                continue
            else:
                # QR exists in float32 and float64 only.
                wide = torch.empty_like(block, dtype=torch.promote_types(block.dtype, torch.float32))
                block.copy_(nn.init.orthogonal_(wide, gain))
    return layer


def forget_gate_bias_(layer: Layer, value: float) -> Layer:
    """Set the forget gate's bias of an LSTM, so that it starts open (1 or 2) and remembers.

    The two biases are added in every step, so bias_ih takes the whole value and bias_hh 0.

    Raises:
        ValueError: the layer is no LSTM, has no biases, or the value is not finite.

    Source: Gers, Schmidhuber & Cummins 2000; Jozefowicz, Zaremba & Sutskever 2015 (value 1).
    """
    if not math.isfinite(value):
        raise ValueError(f"forget_gate_bias must be finite, got {value}")
    if _gates_of(layer) != 4:
        raise ValueError(f"forget_gate_bias is for an LSTM, got {type(layer).__name__}")
    hidden_size = _hidden_size(layer)
    for name, bias in _biases(layer, "forget_gate_bias"):
        forget = bias.detach()[hidden_size : 2 * hidden_size]
        nn.init.constant_(forget, value if name.startswith("bias_ih") else 0.0)
    return layer


def chrono_(layer: Layer, longest_dependency: int) -> Layer:
    """Spread the memory of a gated layer's units evenly over 1..longest_dependency steps.

    With u from U(1, longest_dependency - 1), an LSTM gets b_f = log u and b_i = -log u; a GRU gets b_z = log u, since
    torch's z says how much is kept. The whole value stands in bias_ih, bias_hh is 0 there; everything else stays.

    Args:
        layer: LSTM or GRU.
        longest_dependency: steps over which something has to be remembered, at least 3.

    Raises:
        ValueError: the layer has no gates or no biases, or longest_dependency is below 3.

    Source: Tallec & Ollivier 2018, chrono initialisation.
    """
    if longest_dependency < 3:
        raise ValueError(f"longest_dependency must be at least 3 steps, got {longest_dependency}")
    num_gates = _gates_of(layer)
    if num_gates == 1:
        raise ValueError(f"initialisation 'chrono' is for an LSTM or GRU, got {type(layer).__name__}; use 'identity'")
    hidden_size = _hidden_size(layer)
    for name, bias in _biases(layer, "initialisation 'chrono'"):
        blocks = bias.detach().split(hidden_size)
        # Kept by f of i, f, g, o and by z of r, z, n: the second block in both.
        if name.startswith("bias_hh"):
            nn.init.zeros_(blocks[1])
            if num_gates == 4:
                nn.init.zeros_(blocks[0])
            continue
        nn.init.uniform_(blocks[1], 1, longest_dependency - 1).log_()
        if num_gates == 4:
            blocks[0].copy_(-blocks[1])
    return layer


def initialise_(
    layer: Layer,
    initialisation: str = "default",
    *,
    init_range: float | None = None,
    forget_gate_bias: float | None = None,
    longest_dependency: int | None = None,
) -> Layer:
    """Fill a layer by the name of an initialisation.

    Args:
        layer: a module with torch.nn's parameter names.
        initialisation: one of `INITIALISATIONS`. 'chrono' is 'default' and then `chrono_`.
        init_range: half width of 'uniform'; for no other.
        forget_gate_bias: see `forget_gate_bias_`; None leaves the biases as they are.
        longest_dependency: see `chrono_`; for no other.

    Raises:
        ValueError: an unknown name, or a setting that is missing, out of range, or without effect on this layer.
    """
    check_settings(
        initialisation,
        init_range=init_range,
        forget_gate_bias=forget_gate_bias,
        longest_dependency=longest_dependency,
    )
    match initialisation:
        case "default":
            default_(layer)
        case "identity":
            identity_(layer)
        case "orthogonal":
            orthogonal_(layer)
        case "uniform":
            assert init_range is not None
            uniform_(layer, init_range)
        case "chrono":
            assert longest_dependency is not None
            chrono_(default_(layer), longest_dependency)
    if forget_gate_bias is not None:
        forget_gate_bias_(layer, forget_gate_bias)
    return layer


def check_settings(
    initialisation: str,
    *,
    init_range: float | None = None,
    forget_gate_bias: float | None = None,
    longest_dependency: int | None = None,
) -> None:
    """Refuse a setting that is missing or would have no effect.

    Raises:
        ValueError: names the setting and the initialisation that reads it.
    """
    if initialisation not in INITIALISATIONS:
        raise ValueError(f"initialisation: expected one of {', '.join(INITIALISATIONS)}, got {initialisation!r}")
    for setting, value, reader in (
        ("init_range", init_range, "uniform"),
        ("longest_dependency", longest_dependency, "chrono"),
    ):
        if (initialisation == reader) and value is None:
            raise ValueError(f"initialisation '{reader}' needs {setting}")
        if (initialisation != reader) and value is not None:
            raise ValueError(f"{setting}={value} is read by initialisation '{reader}' only, got '{initialisation}'")
    if initialisation == "chrono" and forget_gate_bias is not None:
        raise ValueError(f"forget_gate_bias={forget_gate_bias} would undo initialisation 'chrono'; choose one")


def _recurrent_parameters(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """List weights and biases by torch.nn's names, and nothing else a subclass may own."""
    prefixes = ("weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l")
    return ((name, p) for name, p in layer.named_parameters(recurse=False) if name.startswith(prefixes))


def _biases(layer: nn.Module, wanted_by: str) -> list[tuple[str, Tensor]]:
    biases = [(name, p) for name, p in _recurrent_parameters(layer) if name.startswith("bias")]
    if not biases:
        raise ValueError(f"{wanted_by} needs biases, and the layer was built with bias=False")
    return biases


def _hidden_size(layer: nn.Module) -> int:
    return next(p for name, p in _recurrent_parameters(layer) if name.startswith("weight_hh")).shape[1]


def _gates_of(layer: nn.Module) -> int:
    return _num_gates(next(p for name, p in _recurrent_parameters(layer) if name.startswith("weight_hh")))


def _num_gates(weight_hh: Tensor) -> int:
    return weight_hh.shape[0] // weight_hh.shape[1]
