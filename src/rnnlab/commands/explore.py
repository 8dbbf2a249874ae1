"""rnnlab explore: what each unit of a finished run knows and does, as one HTML page and explore.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rnnlab.commandline.compose import Request
from rnnlab.commands._explore_holds import Hold, best_units, classify_held, parse_clamps, usual_range, write_held
from rnnlab.commands._explore_report import Explored, page_facts, report
from rnnlab.commands._explore_texts import Reading, held_out, own_reading, properties_of
from rnnlab.commands._finished import FinishedRun, check_corpus, open_run, refuse_no_number
from rnnlab.commands._tables import print_json
from rnnlab.config import ExploreConfig
from rnnlab.disk import cannot_write
from rnnlab.errors import ConfigError, DataError
from rnnlab.inspection.page import TokenValues, page
from rnnlab.inspection.properties import Property
from rnnlab.inspection.search import Answer, group_tokens, search
from rnnlab.inspection.states import Quantity, read_activations, recurrent_of
from rnnlab.json_files import write_json, write_whole
from rnnlab.models import Classifier, LanguageModel
from rnnlab.tasks.language import LanguageTask
from rnnlab.tasks.sentiment import Sentiment

MAX_BYTES = 2**30  # of what is noted of every token: bounds memory, whatever the model's size
LOGITS_AT_ONCE = 512  # tokens


def run(request: Request) -> int:
    """Read texts, search, hold units; write the page and explore.json beside it.

    Raises:
        UserError: no such run, a run that cannot be explored, a text that cannot be read, or a file that cannot be
            written.
    """
    settings: ExploreConfig = request.settings
    finished = open_run(settings)
    _refuse(finished, settings)
    clamps = parse_clamps(settings.clamp, finished.model)
    path = finished.folder / "explore.html" if settings.output is None else Path(os.path.expanduser(settings.output))
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"output must be a file .html, got {settings.output}")
    task, model = finished.task, finished.model
    reading = _reading(finished, settings)
    with torch.no_grad():
        activations = read_activations(model, reading.ids)
        values = _token_values(finished, reading, activations)
    refuse_no_number(finished, {one.label: float(one.values.sum()) for one in values})
    properties, flags = properties_of(task, reading)
    groups = group_tokens(reading.lengths)
    tokens = torch.cat([torch.from_numpy(text) for text in reading.ids])
    answers = search(activations, properties, flags, tokens, groups, top=settings.top)
    plans: list[tuple[Any, str | None, list[float]]] = [
        (unit, name, usual_range(activations[unit.quantity], unit)) for unit, name in best_units(answers, settings.hold)
    ]
    plans += [(unit, None, [value]) for unit, value in clamps]
    holds = _hold(finished, settings, reading, properties, plans)
    facts = report(finished, settings, reading, answers, holds)
    explored = Explored(task, reading, properties, activations, values, flags, groups)
    shown = page_facts(explored, answers, holds, settings.megabytes)
    _write(path, page({**facts, **shown}), facts)
    if settings.json:
        print_json(facts)
    else:
        _tell(answers, holds, path)
    return 0


def _refuse(finished: FinishedRun, settings: ExploreConfig) -> None:
    """Refuse runs whose states say nothing about the text so far."""
    if not isinstance(finished.model, LanguageModel | Classifier):
        raise ConfigError(f"explore reads rnnlab's own models, {settings.run} has a {type(finished.model).__name__}")
    if not isinstance(finished.task, LanguageTask | Sentiment):
        raise ConfigError(f"explore reads texts, {settings.run} is a run of task={finished.task.name}; try rnnlab xray")
    if recurrent_of(finished.model).bidirectional:
        raise ConfigError(
            f"{settings.run} reads in both directions: after a word half of its units have read what is still to come, "
            "so that no unit knows the text so far; explore a run with model.bidirectional=false"
        )


def _reading(finished: FinishedRun, settings: ExploreConfig) -> Reading:
    """The texts to read, as many tokens as were asked for and fit into memory."""
    task, stack = finished.task, recurrent_of(finished.model)
    if settings.text is not None or settings.file is not None:
        reading = own_reading(task, settings)
    else:
        task.read_corpus()
        check_corpus(finished.folder, task)
        reading = held_out(task, settings.split.value, settings.seed)
    quantities = 6 if len(stack.state_names) == 2 else 4
    reading = reading.cut(min(settings.tokens, MAX_BYTES // (4 * quantities * stack.hidden_size * stack.num_layers)))
    if isinstance(task, LanguageTask) and sum(reading.lengths) < 2:  # the symbol before a text is none of it
        raise DataError(f"{reading.source} has no token to read; wanted at least one")
    return reading


def _token_values(finished: FinishedRun, reading: Reading, activations: dict[Quantity, Tensor]) -> list[TokenValues]:
    """What the whole model makes of each token: its surprise at it, or the probability of each class so far."""
    model, device = finished.model, finished.device
    top = activations[Quantity(recurrent_of(model).num_layers - 1, "h")].split(reading.lengths)
    if isinstance(model, LanguageModel):
        nats = [
            _surprise(model, h.to(device), torch.from_numpy(text)) for h, text in zip(top, reading.ids, strict=True)
        ]
        return [TokenValues("surprise", "surprise at the token (nats)", None, torch.cat(nats))]
    assert isinstance(model, Classifier)
    assert isinstance(finished.task, Sentiment)
    logits = torch.cat([model.logits_so_far(h.to(device)[:, None])[:, 0].float().cpu() for h in top])
    shares = logits.softmax(-1)
    names = finished.task.label_names
    return [
        TokenValues(f"class:{name}", f"probability of {name} so far", 1.0, shares[:, n]) for n, name in enumerate(names)
    ]


def _surprise(model: LanguageModel, h: Tensor, text: Tensor) -> Tensor:
    """-log p of each token given those before it, nats (N,); 0 for the first, which nothing predicts."""
    nats = torch.zeros(len(text))
    for begin in range(0, len(text) - 1, LOGITS_AT_ONCE):
        targets = text[begin + 1 : begin + 1 + LOGITS_AT_ONCE]
        logits = model.decode(h[begin : begin + len(targets)]).float().cpu()
        nats[begin + 1 : begin + 1 + len(targets)] = functional.cross_entropy(logits, targets, reduction="none")
    return nats


def _hold(
    finished: FinishedRun,
    settings: ExploreConfig,
    reading: Reading,
    properties: dict[str, Property],
    plans: list[tuple[Any, str | None, list[float]]],
) -> list[Hold]:
    model: nn.Module = finished.model
    if isinstance(model, Classifier):
        assert isinstance(finished.task, Sentiment)
        return classify_held(model, finished.task.label_names, reading, plans)
    assert isinstance(finished.task, LanguageTask)
    return write_held(finished.task, model, settings, properties, plans)


def _write(path: Path, html: str, facts: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error
    write_whole(path, html)
    write_json(path.with_suffix(".json"), facts)


def _tell(answers: list[Answer], holds: list[Hold], path: Path) -> None:
    """Print the findings, what is known first, and where the page is."""
    for answer in sorted(answers, key=lambda one: (one.best is None, not one.is_known)):
        print(answer.sentence())
    if not any(answer.is_known for answer in answers):
        print("no unit was found to know any of these")
    for hold in holds:
        print(hold.sentence())
    print(f"\npage: {path}\nopen it in a browser: {path.resolve().as_uri()}")
