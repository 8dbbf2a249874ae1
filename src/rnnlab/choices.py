"""What there is to choose: the config groups and their files, shipped and the user's own. No Hydra, no YAML parser."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from rnnlab.errors import ConfigError

_SCHEMA = re.compile(r"/hydra/rnnlab/(\w+(?:/\w+)?)@")
_SIMILAR = 0.6  # difflib's ratio above which a word counts as a slip of another


@dataclass(frozen=True, slots=True)
class Choice:
    """One file of a config group.

    Attributes:
        name: What follows the equal sign: `lstm` in `model=lstm`.
        path: The YAML file.
        description: Its first comment line, or "".
        schema: The key of its dataclass in `rnnlab.config.SCHEMAS[group]`; None where the file names none.
    """

    name: str
    path: Path
    description: str
    schema: str | None


def configs_folder() -> Path:
    """Return the shipped configs: inside the package in a wheel, at the top of a checkout.

    Raises:
        ConfigError: Neither is there.
    """
    here = Path(__file__).resolve().parent
    for folder in (here / "configs", here.parents[1] / "configs"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(f"rnnlab's own configs are missing in {here / 'configs'}; reinstall rnnlab")


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


def close_matches(word: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """Return the candidates a typo may stand for, likeliest first.

    `hiden_size` is close to `model.hidden_size`: without a dot, a word is held against the last part of a key too.
    """
    scored: list[tuple[float, str]] = []
    for candidate in dict.fromkeys(candidates):
        score = _ratio(word, candidate)
        last = candidate.rpartition(".")[2]
        if "." not in word:
            # Slightly less: `seed` is the setting seed before it is any x.seed.
            score = max(score, 0.99 * _ratio(word, last))
        elif word.rpartition(".")[2] == last:
            score = max(score, 0.7)  # right name, wrong section: trainer.lr
        if len(word) > 2 and (candidate.startswith(word) or ("." not in word and last.startswith(word))):
            score = max(score, 0.8)  # cut short: exp, optim
        if score >= _SIMILAR:
            scored.append((-score, candidate))
    return [candidate for _, candidate in sorted(scored)[:limit]]


def did_you_mean(word: str, candidates: Iterable[str], template: str = "{}") -> str:
    """Return '; did you mean a, b or c?' or '' where nothing is close."""
    near = [template.format(match) for match in close_matches(word, candidates)]
    return f"; did you mean {listed(near)}?" if near else ""


def listed(words: list[str], last: str = "or") -> str:
    """Return 'a, b or c'."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)


def _read_choice(name: str, path: Path) -> Choice:
    """Read the head of a config file, as far as its schema."""
    description, schema = "", None
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []  # Hydra says what is wrong with it, if it is chosen
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


def _ratio(word: str, other: str) -> float:
    """Return how alike two words are, 0 to 1, whatever their case."""
    return SequenceMatcher(None, word.lower(), other.lower(), autojunk=False).ratio()
