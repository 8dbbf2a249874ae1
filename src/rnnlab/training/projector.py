"""The vectors of the most frequent tokens, in the files that TensorBoard's embedding projector reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from rnnlab.disk import cannot_write

MAX_TOKENS = 1000
_CONFIG = """\
embeddings {
  tensor_name: "embedding"
  tensor_path: "projector/vectors.tsv"
  metadata_path: "projector/tokens.tsv"
}
"""


def write_projector(run: Path, tokens: Sequence[str], vectors: Tensor) -> None:
    """Write vectors and their tokens into a run's folder; older ones are replaced, each file at once.

    Args:
        run: the run's folder.
        tokens: at most `MAX_TOKENS` are written: the first, which are the most frequent.
        vectors: (V, E), a row for each token.

    Raises:
        CannotWriteError: the folder cannot be written to.
    """
    count = min(len(tokens), len(vectors), MAX_TOKENS)
    rows = vectors[:count].detach().float().cpu().tolist()
    contents = {
        "projector/vectors.tsv": "".join("\t".join(f"{number:.5g}" for number in row) + "\n" for row in rows),
        # A token may be a blank or a line end, which the projector would take for no row at all.
        "projector/tokens.tsv": "".join(shown_token(token) + "\n" for token in tokens[:count]),
        "projector_config.pbtxt": _CONFIG,
    }
    for name, content in contents.items():
        path = run / name
        new = path.with_suffix(path.suffix + ".tmp")
        try:
            path.parent.mkdir(exist_ok=True)
            new.write_text(content, encoding="utf-8")
            os.replace(new, path)
        except OSError as error:
            raise cannot_write(path, error) from error


def shown_token(token: str) -> str:
    """A token that can be seen and stands on one line."""
    return "\u2423" if token == " " else token if token.isprintable() and token else repr(token)[1:-1]
