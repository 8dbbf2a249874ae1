"""What there is to choose: the config groups and their files, shipped and the user's own. No Hydra, no YAML parser."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rnnlab.errors import ConfigError

_HEAD = 8192  # characters of a file that are looked at for its first comment and its schema
_SCHEMA = re.compile(r"/hydra/rnnlab/(\w+(?:/\w+)?)@")


@dataclass(frozen=True, slots=True)
class Choice:
    """One file of a config group.

    Attributes:
        name: What follows the equal sign: `lstm` in `model=lstm`.
        path: The YAML file; None for a task that an installed package brings.
        description: Its first comment line, or "".
        schema: The key of its dataclass in `rnnlab.config.SCHEMAS[group]`; None where the file names none.
    """

    name: str
    path: Path | None
    description: str
    schema: str | None


def configs_folder() -> Path:
    """Return the shipped configs: inside the package in a wheel, at the top of a checkout.

    Raises:
        ConfigError: Neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "configs", package.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"rnnlab's own configs are missing in {package / 'configs'}; reinstall rnnlab")


def groups(*folders: Path) -> list[str]:
    """Return the names of the config groups in these folders, sorted, without Hydra's own."""
    found = {entry.name for folder in folders for entry in _entries(folder) if entry.is_dir()}
    return sorted(name for name in found if name.isidentifier() and name != "hydra" and not name.startswith("__"))


def choices(group: str, *folders: Path) -> dict[str, Choice]:
    """Return the choices of a group by name, sorted; the first folder that has a name wins, as in Hydra."""
    found: dict[str, Choice] = {}
    for folder in folders:
        for path in sorted((folder / group).rglob("*.yaml")):
            name = path.relative_to(folder / group).with_suffix("").as_posix()
            if name not in found:
                found[name] = _read_choice(name, path)
    return dict(sorted(found.items()))


def _read_choice(name: str, path: Path) -> Choice:
    """Read the head of a config file, as far as its schema."""
    description, schema = "", None
    try:
        if not path.is_file():  # opening a pipe would wait for a writer
            raise OSError
        with path.open(encoding="utf-8", errors="replace") as stream:
            lines = stream.read(_HEAD).splitlines()
    except OSError:
        lines = []  # the guard says what is wrong with it, if it is chosen
    for line in lines[:40]:
        if line.startswith("#") and not description and "@package" not in line:
            description = line.lstrip("# ").rstrip()
        if match := _SCHEMA.search(line):
            schema = match[1].rpartition("/")[2]
            break
    return Choice(name, path, description, schema)


def _entries(folder: Path) -> list[Path]:
    """List a folder; nothing if it cannot be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []
