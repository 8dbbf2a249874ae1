"""Text from a language model on the CPU engine: whole steps in C++, from one token to the next.

Called for each token, a model of 2 x 512 spends as long in Python and in torch's dispatch as in its weights.

Shapes: R rows (texts side by side), L layers, H hidden_size, V vocab_size.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from rnnlab.cells.cpu import engine
from rnnlab.cells.cpu.library import Text, Window, address, call
from rnnlab.cells.reference import Weights
from rnnlab.models.state import State

MOST_ROWS = 16
"""With more, a call of the layers, which packs weights for all rows, is faster."""


class Writer:
    """Texts that go on from a state, on float32 weights where they stand; changes of them in place are seen."""

    def __init__(
        self,
        cell: str,
        layers: Sequence[Weights],
        embedding: Tensor,
        decoder_weight: Tensor,
        decoder_bias: Tensor | None,
        state: State,
    ) -> None:
        """Take a model's parameters, contiguous float32 on the CPU, and a copy of the state, (L, R, H) each."""
        h, c = state if isinstance(state, tuple) else (state, None)
        assert h is not None
        self._state = [s.detach().to(torch.float32, copy=True).contiguous() for s in (h, c) if s is not None]
        self._held = (layers, embedding, decoder_weight, decoder_bias)  # what the addresses below belong to
        self._rows = h.shape[1]
        windows = [self._window(cell, weights, layer) for layer, weights in enumerate(layers)]
        self._text = Text(
            rows=self._rows,
            num_layers=len(windows),
            vocab_size=decoder_weight.shape[0],
            layers=(Window * len(windows))(*windows),
            embedding=address(embedding),
            decoder_weight=address(decoder_weight),
            decoder_bias=address(decoder_bias),
        )

    def _window(self, cell: str, weights: Weights, layer: int) -> Window:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        addresses = {name: address(getattr(weights, name)) for name in names}
        addresses |= {name: address(s[layer]) for name, s in zip(("h_n", "c_n"), self._state, strict=False)}
        hidden_size, input_size = weights.weight_hh.shape[1], weights.weight_ih.shape[1]
        return Window(
            cell=engine.CELLS[cell][0],
            threads=1,
            steps=1,
            batch=self._rows,
            input_size=input_size,
            hidden_size=hidden_size,
            **addresses,
        )

    def write(
        self,
        last_tokens: Tensor,
        stopped: Tensor,
        steps: int,
        *,
        temperature: float,
        top_k: int | None,
        top_p: float | None,
        forbidden: Tensor | None,
        levels: Tensor | None,
        stop_id: int | None,
    ) -> Tensor:
        """Draw up to `steps` tokens for each row; fewer once every row has stopped.

        Args:
            last_tokens: <int64>(R,), what the rows drew last and the model has not seen.
            stopped: <uint8>(R,), 1 for rows that are over; changed in place.
            steps: at least 1.
            temperature: as in `rnnlab.generation.sample`, and so are the others.
            top_k: None: all.
            top_p: None: all.
            forbidden: <uint8>(V,), 1 for tokens that are never drawn, or None.
            levels: <float64>(steps, R), in [0, 1): the token is drawn at which the summed probability passes it; None
                at temperature 0.
            stop_id: a row is over once it draws this; None: never.

        Returns:
            <int64>(steps made, R); -1 in the last step where the scores were nan or infinite.
        """
        tokens = torch.empty(steps, self._rows, dtype=torch.int64)
        made, text = ctypes.c_int64(), self._text
        text.threads, text.steps, text.temperature = torch.get_num_threads(), steps, temperature
        text.top_k, text.top_p = top_k or text.vocab_size, 1.0 if top_p is None else top_p
        text.stop_id = -1 if stop_id is None else stop_id
        text.forbidden, text.levels = address(forbidden), address(levels)
        text.last_tokens, text.stopped, text.tokens = address(last_tokens), address(stopped), address(tokens)
        text.made = ctypes.addressof(made)
        call("rnnlab_write", text)
        return tokens[: made.value]
