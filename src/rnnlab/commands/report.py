"""`rnnlab report RUN|SWEEP`: one HTML page that needs nothing else: to keep, to send, to print."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote

from rnnlab.commandline.options import check_writable, one_line_errors
from rnnlab.commands._details import expand, plain_name, read_details
from rnnlab.commands._run_page import run_page
from rnnlab.commands._sweep_page import sweep_page
from rnnlab.json_files import write_whole
from rnnlab.run_lookup import find_run
from rnnlab.runs import is_run, outputs_root

FILE = "report.html"


def main(argv: list[str]) -> int:
    """Write the page of a run, or of a sweep.

    Args:
        argv: What follows the verb.

    Raises:
        CheckpointError: There is no such run, or its files are damaged.
        CannotWriteError: The page cannot be written.
    """
    parser = argparse.ArgumentParser(prog="rnnlab report", description="Write one HTML page of a run or a sweep.")
    parser.add_argument("run", metavar="RUN|SWEEP", help="its name (rnnlab runs lists them)")
    parser.add_argument("--output", type=Path, metavar="FILE", help=f"{FILE} in its folder if not given")
    arguments = one_line_errors(parser).parse_args(argv)
    check_writable(arguments.output)
    name = plain_name(arguments.run).rstrip("/")
    folder = outputs_root() / name
    if name and folder.is_dir() and not is_run(folder) and (names := expand([name])):
        details = [read_details(run) for run in names]
        page = sweep_page(name, folder, details, _made_by(name))
    else:
        folder = find_run(name)
        page = run_page(read_details(name), _made_by(name))
    path = arguments.output or folder / FILE
    write_whole(path, page)
    print(f"written: {path}  (open it in a browser)")
    return 0


def _made_by(name: str) -> str:
    return f"Made by rnnlab report {quote(name)}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
