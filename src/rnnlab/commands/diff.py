"""`rnnlab diff A B`: the settings in which runs differ, and what else was not the same."""

from __future__ import annotations

import argparse
from typing import Any

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import expand, need, part
from rnnlab.commands._tables import print_json, print_table
from rnnlab.json_files import read_json
from rnnlab.reports.differences import differences
from rnnlab.run_lookup import find_run


def main(argv: list[str]) -> int:
    """Print the settings in which two runs, or more, differ.

    Args:
        argv: What follows the verb.

    Raises:
        CheckpointError: There is no such run.
        ConfigError: There are fewer than two.
    """
    parser = argparse.ArgumentParser(prog="rnnlab diff", description="Show the settings in which runs differ.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="two runs or more, or a sweep")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = one_line_errors(parser).parse_args(argv)
    names = expand(arguments.runs)
    need(names, 2, "diff")
    contents = [read_json(find_run(name) / "run.json") for name in names]
    found = setting_differences(contents)
    if arguments.json:
        print_json({"runs": names, "settings": found})
    elif found:
        print_table(("setting", *names), [(key, *values) for key, values in found.items()], left=1 + len(names))
    else:
        print(f"{' and '.join(names)} have the same settings, versions and corpus")
    return 0


def setting_differences(contents: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return what differs between runs: settings by their keys, then versions, commit and corpus.

    Args:
        contents: The run.json of each.
    """
    around = [
        {
            "made with": {**part(content, "versions"), "commit": str(content.get("git_commit"))[:12]},
            "corpus": {"hash": str(part(content, "corpus").get("sha256"))[:12]},
        }
        for content in contents
    ]
    settings = differences([part(content, "config") for content in contents])
    return settings | {key.replace(".", " "): values for key, values in differences(around).items()}
