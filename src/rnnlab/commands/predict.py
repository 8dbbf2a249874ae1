"""rnnlab predict: what a finished run makes of texts; JSON, one object a text."""

from __future__ import annotations

from rnnlab.commandline.compose import Request
from rnnlab.commands._finished import open_run
from rnnlab.commands._own_text import read_own
from rnnlab.commands._tables import print_json
from rnnlab.config import PredictConfig
from rnnlab.errors import ConfigError, DataError
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.sentiment import Sentiment

TOP = 5


def run(request: Request) -> int:
    """Print a JSON object with probabilities for the text, or one a line for each line of the file.

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
    for prediction in predictions:
        print_json(prediction)
    return 0


def _lines(file: str) -> list[str]:
    """Lines of a file, or of standard input; empty ones are left out."""
    lines = [line for line in read_own(file).split("\n") if line.strip()]
    if not lines:
        raise DataError(f"{file} has no text; wanted one text a line")
    return lines
