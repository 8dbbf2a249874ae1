"""How much of a generated text stands word for word in the training text.

A character model that has learnt its corpus by heart scores well and invents nothing. The longest copied span of what
it writes, beside that of a held-out text, tells. Compare the music or prose alone: header lines such as `M:6/8` stand
in every tune and would count as copies.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Span:
    """A substring of a generated text that stands in a training text.

    Attributes:
        length: characters; 0 when not one character is shared.
        start: where it begins in the generated text, in characters.
        training_start: where it first stands in the training text, in characters.
        text: the substring.
    """

    length: int
    start: int
    training_start: int
    text: str


class TrainingText:
    """A training text sorted once, to be searched many times.

    Example:
        >>> TrainingText("the cat sat").longest_copied_span("a cat sang").text
        ' cat sa'
    """

    def __init__(self, text: str) -> None:
        """Sort the suffixes of the text: some seconds and 16 bytes a character for a million characters.

        Args:
            text: all training texts, joined by a character that no generated text has (for example a zero byte), so
                that no span reaches from one into the next.
        """
        self.text = text
        self._suffixes = suffix_array(text)

    def longest_copied_span(self, generated: str) -> Span:
        """Find the longest substring of a text that stands in the training text; of equals, the first in `generated`.

        Exact. The best length so far only grows, so a text of n characters takes at most 2 n binary searches.
        """
        start, length = 0, 0
        for index in range(len(generated)):
            while index + length < len(generated) and self._holds(generated[index : index + length + 1]):
                start, length = index, length + 1
        text = generated[start : start + length]
        return Span(length, start, self.text.find(text), text)

    def _holds(self, text: str) -> bool:
        """Whether a text of at least one character stands in the training text."""
        index = bisect_left(self._suffixes, text, key=lambda start: self.text[start : start + len(text)])
        return index < len(self._suffixes) and self.text.startswith(text, self._suffixes[index])


def suffix_array(text: str) -> NDArray[np.int64]:
    """Return where the suffixes of a text start, in the order of the suffixes (code points, shorter first).

    Each round doubles the number of characters that are in order, until no two suffixes are equal in them.

    Example:
        >>> suffix_array("banana").tolist()
        [5, 3, 1, 0, 4, 2]

    Source: Manber & Myers 1993.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if codes.size == 0:
        return np.zeros(0, dtype=np.int64)
    # 0 stands for "past the end", which sorts before every character.
    ranks = np.unique(codes, return_inverse=True)[1].astype(np.int64) + 1
    size = 1
    while True:
        # Pack as many blocks of `size` characters into one number as 63 bits hold, at least two.
        base = int(ranks.max()) + 1
        blocks = max(2, int(62 / np.log2(base)))
        keys = np.zeros_like(ranks)
        for block in range(blocks):
            keys *= base
            keys[: max(0, len(ranks) - block * size)] += ranks[block * size :]
        order = np.argsort(keys, kind="stable")
        is_new = np.ones(len(order), dtype=bool)
        is_new[1:] = keys[order[1:]] != keys[order[:-1]]
        ranks = np.empty_like(ranks)
        ranks[order] = np.cumsum(is_new)
        size *= blocks
        if is_new.all():
            return order
