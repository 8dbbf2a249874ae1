"""What `rnnlab` alone says: what to type next, by what lies under outputs/. No torch."""

from __future__ import annotations

from rnnlab.commands._details import next_commands
from rnnlab.commands.runs import duration, score
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
