"""What explore found, as data: for explore.json, and for the page."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rnnlab.commands._explore_holds import Hold, Measured, Variant
from rnnlab.commands._explore_texts import Reading
from rnnlab.commands._finished import FinishedRun
from rnnlab.config import ExploreConfig
from rnnlab.inspection.clamp import Unit
from rnnlab.inspection.page import TokenValues, packed_flags, packed_units, packed_values
from rnnlab.inspection.properties import Property
from rnnlab.inspection.search import Answer, Finding
from rnnlab.inspection.states import Quantity, recurrent_of
from rnnlab.runs import run_name
from rnnlab.tasks.base import Task
from rnnlab.tasks.music import Music

MAX_SHOWN = 6000  # tokens: beyond that a browser is slow to colour them
BASE64 = 4 / 3


class Explored(NamedTuple):
    """What was read: texts, what is asked of them and where it holds, and what the model made of every token."""

    task: Task
    reading: Reading
    properties: dict[str, Property]
    activations: dict[Quantity, Tensor]
    values: list[TokenValues]
    flags: dict[str, Tensor]
    groups: Tensor


def report(
    finished: FinishedRun, settings: ExploreConfig, reading: Reading, answers: list[Answer], holds: list[Hold]
) -> dict[str, Any]:
    """All numbers, JSON-able. Layers and units count from 0; margins are halves of 95 % intervals."""
    stack = recurrent_of(finished.model)
    return {
        "run": run_name(finished.folder),
        "task": finished.task.name,
        "checkpoint": settings.checkpoint.value,
        "cell": stack.cell,
        "layers": stack.num_layers,
        "hidden_size": stack.hidden_size,
        "source": reading.source,
        "texts": len(reading.ids),
        "tokens": sum(reading.lengths),
        "properties": [_answer(answer) for answer in answers],
        "holds": [_hold(hold) for hold in holds],
    }


def page_facts(explored: Explored, answers: list[Answer], holds: list[Hold], megabytes: float) -> dict[str, Any]:
    """What the page shows beside the report: as much text as fits, from the half that chose no unit on."""
    task, reading, properties, activations, values, flags, groups = explored
    places = sum(matrix.shape[1] for matrix in activations.values()) + len(values) + len(flags)
    fits = min(MAX_SHOWN, max(1, int(megabytes * 1e6 / BASE64 / places)))
    total = sum(reading.lengths)
    begin = 0 if fits >= total else int((groups < (int(groups[-1]) + 1) // 2).sum())
    shown = slice(begin, min(begin + fits, total))
    edges = torch.tensor([0, *reading.lengths]).cumsum(0).tolist()
    starts = [max(edge, begin) for edge, end in pairwise(edges) if begin < end and edge < shown.stop]
    tokens = torch.cat([torch.from_numpy(text) for text in reading.ids])[shown]
    return {
        "characters": isinstance(task, Music),
        "shown": task.vocabulary.decode(tokens.tolist()),
        "starts": [start - begin for start in starts],
        "titles": _titles(task, reading, begin, edges, shown.stop),
        "from_reporting_half": begin > 0,
        "quantities": [packed_units(quantity, matrix[shown]) for quantity, matrix in activations.items()],
        "values": [packed_values(one, shown) for one in values],
        "flags": {name: packed_flags(one[shown]) for name, one in flags.items()},
        "ranked": {answer.name: _ranked(answer) for answer in answers},
        "written": [_written(hold, properties) for hold in holds],
    }


def _written(hold: Hold, properties: dict[str, Property]) -> dict[str, Any]:
    """The text of each variant, and where in it the property holds."""
    texts = [variant.tokens for variant in hold.variants]
    flags = [[int(flag) for flag in properties[hold.name].holds(text)] if text else [] for text in texts]
    return {"texts": texts, "flags": flags}


def _titles(task: Task, reading: Reading, begin: int, edges: list[int], end: int) -> list[str]:
    """The true class of each text shown, where it is known."""
    names = getattr(task, "label_names", None)
    if reading.labels is None or names is None:
        return []
    rows = [row for row, label in enumerate(reading.labels) if begin < edges[row + 1] and edges[row] < end]
    return [names[reading.labels[row]] for row in rows]


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "name": answer.name,
        "about": answer.about,
        "share": answer.share,
        "is_known": answer.is_known,
        "unsearched": answer.unsearched,
        "token_alone": answer.token_alone,
        "best": None if answer.best is None else _finding(answer.best),
        "sentence": answer.sentence(),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {**_unit(finding.unit), "is_low": finding.is_low, "auc": finding.auc, "margin": finding.margin}


def _unit(unit: Unit) -> dict[str, Any]:
    return {"layer": unit.quantity.layer, "quantity": unit.quantity.name, "unit": unit.number}


def _hold(hold: Hold) -> dict[str, Any]:
    return {
        **_unit(hold.unit),
        "property": hold.name,
        "about": hold.about,
        "sentence": hold.sentence(),
        "variants": [_variant(variant) for variant in hold.variants],
    }


def _variant(variant: Variant) -> dict[str, Any]:
    measures = {"rates": variant.rates, "shares": variant.shares, "changes": variant.changes}
    return {"held_at": variant.value} | {name: _measured(one) for name, one in measures.items() if one}


def _measured(measures: dict[str, Measured]) -> dict[str, dict[str, float]]:
    return {name: {"mean": mean, "margin": margin} for name, (mean, margin) in measures.items()}


def _ranked(answer: Answer) -> dict[str, list[list[float]]]:
    """By "layer/quantity": unit, whether it is low, AUC, margin."""
    return {
        f"{quantity.layer}/{quantity.name}": [
            [one.unit.number, int(one.is_low), round(one.auc, 4), round(one.margin, 4)] for one in found
        ]
        for quantity, found in answer.ranked.items()
    }
