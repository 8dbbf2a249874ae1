"""rnnlab predict: what a finished run makes of texts, as tables or, one object a text, as JSON."""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from typing import Any

from rich.cells import cell_len, set_cell_size

from rnnlab.commandline.compose import Request
from rnnlab.commands._finished import open_run
from rnnlab.commands._own_text import read_own
from rnnlab.commands._tables import print_json, print_table
from rnnlab.config import PredictConfig
from rnnlab.errors import ConfigError, DataError
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.sentiment import Sentiment
from rnnlab.wording import for_a_terminal

TOP = 5
_SHOWN = 60  # letters of a text that stands above its table


def run(request: Request) -> int:
    """Print probabilities for the text, or for each line of the file.

    Raises:
        UserError: no such run, no such file, or a text that cannot be read.
    """
    settings: PredictConfig = request.settings
    texts = [settings.text] if settings.text is not None else _lines(str(settings.file))
    finished = open_run(settings)
    task = finished.task
    if isinstance(task, Sentiment):
        if settings.top is not None:
            raise ConfigError(f"top={settings.top} is for language models; {settings.run} gives every class")
        predictions = task.predict(finished.model, texts)
    elif not isinstance(task, LanguageTask):
        raise ConfigError(f"{settings.run} is a run of task={task.name}, which predict cannot show; try evaluate")
    else:
        predictions = [task.predict_next(finished.model, text, settings.top or TOP) for text in texts]
    if settings.json:
        for prediction in predictions:
            print_json(prediction)
    elif isinstance(task, Sentiment) and len(predictions) > 1:
        _print_classes(predictions)
    else:
        for number, prediction in enumerate(predictions):
            print(end="\n" if number else "")
            _print_one(prediction)
    return 0


def _print_one(prediction: dict[str, Any]) -> None:
    """Print what one text may be, or how it may go on, the likeliest first."""
    if "next" in prediction:
        heading, shares = "next", [(entry["token"], entry["probability"]) for entry in prediction["next"]]
    else:
        heading, shares = "class", [*prediction["probabilities"].items()]
    text = _one_line(prediction["text"]) if prediction["text"].strip() else repr(prediction["text"])
    print(f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}  ({_tokens(prediction)})")
    rows = sorted(shares, key=lambda pair: -pair[1])
    # A token may be a space or a line's end.
    shown = [(_one_line(name) if name.strip() else repr(name), f"{share:.4f}") for name, share in rows]
    print_table((heading, "probability"), shown, left=1)


def _print_classes(predictions: list[dict[str, Any]]) -> None:
    """Print a line for each text: its class, how likely that is, and as much of the text as fits."""
    rows = []
    for prediction in predictions:
        label = prediction["label"]
        share, unknown = f"{prediction['probabilities'][label]:.4f}", f"{prediction['unknown_tokens']:,}"
        rows.append((_one_line(label), share, unknown, _one_line(prediction["text"])))
    width = get_terminal_size().columns if sys.stdout.isatty() else 200
    room = max(8, width - max(cell_len(row[0]) for row in (("class",), *rows)) - len("  probability unknown"))
    shown = [
        (label, text if cell_len(text) <= room else set_cell_size(text, room - 3) + "...", share, unknown)
        for label, share, unknown, text in rows
    ]
    print_table(("class", "text", "probability", "unknown"), shown, left=2)


def _tokens(prediction: dict[str, Any]) -> str:
    """Say how much of a text was read, and how much of that the run does not know."""
    count, unknown = prediction["tokens"], prediction["unknown_tokens"]
    known = f", {unknown:,} of them unknown" if unknown else ""
    return f"{count:,} token{'s' * (count != 1)}{known}"


def _one_line(text: str) -> str:
    """Return a text on one line, with nothing in it that a terminal would obey."""
    return for_a_terminal(text.replace("\n", "\\n"))


def _lines(file: str) -> list[str]:
    """Lines of a file, or of standard input; empty ones are left out."""
    lines = [line for line in read_own(file).split("\n") if line.strip()]
    if not lines:
        raise DataError(f"{file} has no text; wanted one text a line")
    return lines
