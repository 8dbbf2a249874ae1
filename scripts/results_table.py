"""Print the README's results: finished runs that differ in nothing but their seed, as one Markdown row each.

`python scripts/results_table.py` takes every run under outputs/ (or $RNNLAB_OUTPUTS);
`python scripts/results_table.py imdb ptb` those whose name holds one of these words.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from statistics import mean, stdev
from typing import Any

from rnnlab.config import NO_HYPERPARAMETERS
from rnnlab.json_files import read_json
from rnnlab.run_list import list_runs


def recipe(config: dict[str, Any]) -> str:
    """The settings that make a run what it is, its seed aside, as a key."""
    ignored = NO_HYPERPARAMETERS | {"seed"}
    kept = {key: value for key, value in config.items() if key not in ignored}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if f"trainer.{key}" not in ignored}
    return json.dumps(kept, sort_keys=True)


def main(words: list[str]) -> int:
    rows: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for run in list_runs():
        if run.status == "done" and (not words or any(word in run.name for word in words)):
            content = read_json(run.path / "run.json")
            rows[recipe(content["config"])].append((run.name, read_json(run.path / "result.json")))
    print("| runs | test score | seeds | minutes of training |\n|---|---|---|---|")
    for found in rows.values():
        metric = str(found[0][1]["metric"]).replace("valid/", "test/")
        scores = [float(result["metrics"][metric]) for _, result in found]
        spread = f" +- {stdev(scores):.4f}" if len(scores) > 1 else ""
        minutes = ", ".join(f"{result['seconds'] / 60:.1f}" for _, result in found)
        names = ", ".join(name for name, _ in found)
        print(f"| {names} | {metric} {mean(scores):.4f}{spread} | {len(scores)} | {minutes} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
