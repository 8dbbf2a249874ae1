"""What to type next, about a run and by what lies under outputs/: the latter is what `rnnlab` alone says. No torch."""

from __future__ import annotations

from shlex import quote

from rnnlab.commands._details import setting
from rnnlab.commands.runs import duration, score
from rnnlab.json_files import read_json
from rnnlab.run_list import RunSummary, list_runs
from rnnlab.runs import outputs_root
from rnnlab.wording import side_by_side

FIRST_STEPS = [
    ("rnnlab train task=sentiment model=lstm", "a first model, of reviews"),
    ("rnnlab train task=music model=gru", "one that writes tunes"),
    ("rnnlab init my-lab task=sentiment corpus=mails.csv", "your own data"),
    ("rnnlab train --help", "all that can be set"),
    ("rnnlab --help", "every command"),
]
_MAX_COMMANDS = 5


def welcome() -> str:
    """Return a screenful: the newest run and what can be done with it, or how to make a first one."""
    runs = list_runs()
    if not runs:
        head = "rnnlab trains recurrent networks from the command line."
        begin = f"There are no runs in {outputs_root()} yet. Start with:"
        return "\n".join([head, begin, "", *side_by_side(FIRST_STEPS)])
    newest = runs[-1]
    head = f"The newest of {len(runs)} runs:" if len(runs) > 1 else "The newest run:"
    commands = [*next_commands(newest)[:_MAX_COMMANDS], ("rnnlab runs", "all runs"), ("rnnlab --help", "every command")]
    return "\n".join([head, f"  {_told(newest)}", "", "next", *side_by_side(commands)])


def _told(run: RunSummary) -> str:
    """Return a run in a line."""
    time = "" if run.seconds is None else f"after {duration(run.seconds)} of training"
    return "  ".join(part for part in (run.name, run.status, score(run), time) if part)


def _use_command(task: str, name: str) -> str:
    """Return the command that shows what a run of a task can do."""
    name = quote(name)
    match task:
        case "sentiment":
            return f"rnnlab predict run={name} text='not bad at all'"
        case "next_word" | "music":
            return f"rnnlab generate run={name}"
        case _:
            return f"rnnlab evaluate run={name}"


def next_commands(run: RunSummary, *, shown: bool = False) -> list[tuple[str, str]]:
    """Return what can be typed about a run, with what it does, the likeliest first.

    Args:
        run: The run.
        shown: Whether the user is looking at it already.
    """
    name = quote(run.name)
    look = [] if shown else [(f"rnnlab show {name}", "look at it")]
    board = (f"rnnlab board {name}", "in TensorBoard")
    match run.status:
        case "done":
            found = [*look, (_use_command(run.task, run.name), "use it")]
            if other := _sibling(run):
                found.append((f"rnnlab compare {quote(other)} {name}", "more than chance?"))
            return [*found, (f"rnnlab report {name}", "one HTML page"), board]
        case "running":
            return [*look, board]
        case "damaged":
            return [(f"rnnlab rm {name}", "remove it")]
        case _:
            resume = (f"rnnlab train resume={name}", "go on")
            has_checkpoint = (run.path / "checkpoints").is_dir() and any((run.path / "checkpoints").iterdir())
            return [*([resume] if has_checkpoint else []), *look, (f"rnnlab rm {name}", "remove it")]


def _sibling(run: RunSummary) -> str | None:
    """Return the newest other finished run that `compare` would take: the same task and corpus, and a loss in nats."""
    if run.metric is None or run.metric.endswith("/mse"):
        return None
    for other in reversed(list_runs()):
        is_like = (other.task, other.metric, other.status) == (run.task, run.metric, "done")
        if is_like and other.name != run.name and _corpus(other) == _corpus(run):
            return other.name
    return None


def _corpus(run: RunSummary) -> str:
    """Return the corpus that a run was asked to read."""
    return setting(read_json(run.path / "run.json"), "task", "corpus")
