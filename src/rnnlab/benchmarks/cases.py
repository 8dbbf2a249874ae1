"""What is measured of the cells: shapes, ways of use, and how much arithmetic each takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NUM_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
"""Cells and the gates of each, G."""

MODES = {
    "train": "forward and backward of one layer, a dense batch",
    "packed": "the same, rows of 1 to T steps: lengths against a PackedSequence",
    "inference": "forward alone, no gradient",
    "token": "two layers, one step a call, the state carried over",
    "bf16": "train with bfloat16 products, against torch.nn in float32",
}
"""Ways of use, one phrase each."""


class Shape(NamedTuple):
    """How large a case is.

    Attributes:
        name: a letter, or B and the batch size.
        batch_size: B.
        steps: T; of mode token, tokens drawn one after the other.
        input_size: I.
        hidden_size: H.
        num_layers: L.
    """

    name: str
    batch_size: int
    steps: int
    input_size: int
    hidden_size: int
    num_layers: int = 1


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("S", 32, 35, 200, 200),
        Shape("M", 20, 35, 650, 650),
        Shape("L", 20, 70, 400, 1150),
        Shape("C", 64, 200, 128, 256),
        Shape("H", 32, 128, 512, 512),
    )
}
"""Language models small to large, characters of long texts, and a round size."""

TOKEN_SHAPES = tuple(Shape(f"B{batch}", batch, 64, 512, 512, num_layers=2) for batch in (1, 8, 64))


class Case(NamedTuple):
    """One thing to measure.

    Attributes:
        mode: one of `MODES`.
        cell: one of `NUM_GATES`.
        shape: its size.
    """

    mode: str
    cell: str
    shape: Shape

    @property
    def learns(self) -> bool:
        """Whether there is a backward pass."""
        return self.mode in ("train", "packed", "bf16")

    @property
    def calls(self) -> int:
        """Times a measured run is divided by this: the tokens of a loop, else 1."""
        return self.shape.steps if self.mode == "token" else 1

    def gflop(self, num_steps: int) -> float:
        """Return 1e9 multiplications and additions of the matrix products alone.

        Args:
            num_steps: valid steps of all rows together, B T without lengths.
        """
        _, _, _, input_size, hidden_size, num_layers = self.shape
        width = input_size + hidden_size + (num_layers - 1) * 2 * hidden_size
        forward = 2e-9 * num_steps * width * NUM_GATES[self.cell] * hidden_size
        # Backward takes two products for each of forward's: of the inputs' gradients and of the weights'.
        return 3 * forward if self.learns else forward

    def __str__(self) -> str:
        """Render for a line of progress: 'train lstm S'."""
        return f"{self.mode} {self.cell} {self.shape.name}"


def list_cases(shapes: Iterable[Shape], cells: Iterable[str], modes: Iterable[str]) -> list[Case]:
    """Return every case of the modes; mode token has shapes of its own."""
    shapes, cells = tuple(shapes), tuple(cells)
    return [
        Case(mode, cell, shape)
        for mode in modes
        for cell in cells
        for shape in (TOKEN_SHAPES if mode == "token" else shapes)
    ]
