"""Which run a name or a path stands for, or why it stands for none. No torch."""

from __future__ import annotations

import os
import re
from pathlib import Path
from shlex import quote

from rnnlab.errors import CheckpointError
from rnnlab.runs import is_run, outputs_root, run_name, run_names
from rnnlab.wording import did_you_mean

_LINK = re.compile(r"last|best|\.tmp-(last|best)-\d+")


def find_run(name: str, *, has_begun: bool = True) -> Path:
    """Return the folder of a run, by its name under outputs/ or by its path.

    Args:
        name: The name or path.
        has_begun: Whether it must have a run.json; False: what a start left that died before it is a run, too.

    Raises:
        CheckpointError: There is none, or it holds what no run of rnnlab's holds.
    """
    folders = (outputs_root() / name, Path(os.path.expanduser(name))) if name and "\0" not in name else ()
    for folder in folders:
        if is_run(folder):
            _refuse_links(folder)
            if has_begun and not (folder / "run.json").exists():
                raise CheckpointError(
                    f"{folder} has no run.json: a start died there, or it was not copied whole;{_removal(folder)}"
                )
            return folder
    known = run_names()
    for folder in folders:
        if os.path.isdir(folder):
            raise CheckpointError(_why_no_run(folder, known))
    if not known:
        raise CheckpointError(f"no run '{name}': there are no runs in {outputs_root()}; rnnlab train makes one")
    raise CheckpointError(f"no run '{name}'{did_you_mean(name, known) or ';'} rnnlab runs lists them")


def _removal(folder: Path) -> str:
    """Say what removes what is left of a run: `rm` touches nothing outside of outputs/."""
    name = run_name(folder)
    return f" rnnlab rm {quote(name)} removes it" if not os.path.isabs(name) else " copy it anew"


def _why_no_run(folder: Path, known: list[str]) -> str:
    """Say what a folder is that is no run, and which run may be meant."""
    name = run_name(folder)
    for parent in folder.resolve().parents:
        if is_run(parent):
            return f"{folder} lies inside the run '{run_name(parent)}'; name that"
    inside = [run for run in known if name == "." or run.startswith(f"{name}/")]
    if inside:
        return f"{folder} is no run but holds {len(inside)}; name one of them, such as {quote(inside[0])}"
    return (
        f"{folder} is a folder but no run: it has no run.json{did_you_mean(name, known) or ';'} rnnlab runs lists them"
    )


def _refuse_links(folder: Path) -> None:
    """Refuse links out of a run's folder, pipes and devices: it may be somebody else's, and is read and written to.

    A link in the place of rnnlab.log or samples/ would let a resumed run write anywhere.

    Raises:
        CheckpointError: There is one; `last` and `best` among the checkpoints may point at their siblings, also under
            the name that they have until they are whole.
    """
    pending = [folder]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except OSError:
            continue  # what cannot be listed cannot be read either, and is told there
        for entry in entries:
            path = Path(entry.path)
            if entry.is_symlink():
                of_ours = path.parent == folder / "checkpoints" and _LINK.fullmatch(path.name)
                try:
                    target = os.readlink(path)
                except FileNotFoundError:
                    continue  # the run is training, and has just put it in another's place
                if not (of_ours and "/" not in target.removesuffix("/")):
                    raise CheckpointError(
                        f"{path} is a link, and could lead anywhere; put in its place what it points at"
                    )
            elif entry.is_dir():
                pending.append(path)
            elif not entry.is_file():
                raise CheckpointError(f"{path} is a pipe or a device; no run has one: remove it")
