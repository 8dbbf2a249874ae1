"""run.json with every field changed into what it should not be: each verb that reads a run says so in one line.

Seeded, so that what fails can be met again: the number of a mutation is in its id.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnlab.cli import main
from rnnlab.commands import board

SECRET = "hush-77c1"
GROUPS = 6
GROWTH_KIB = 400 << 10  # of the process over a group: torch, matplotlib and a page or two
FINE, CONFIG, DATA, CHECKPOINT, DIVERGED, IN_USE = 0, 2, 3, 4, 5, 8

# What one value becomes; texts in angle brackets are put into the file as they stand between them.
VALUES: dict[str, Any] = {
    "none": None,
    "true": True,
    "minus": -1,
    "zero": 0,
    "fraction": 0.5,
    "large": 2**63,
    "huge": "<1" + "0" * 4000 + ">",
    "nan": "<NaN>",
    "infinite": "<1e999>",
    "empty text": "",
    "number as text": "7",
    "long text": "x" * 100_000,
    "nul": "a\0b",
    "terminal": "\x1b]0;owned\x07\r\n",
    "half a character": '<"\\ud800">',
    "letters": "лиса 狐 \u202e\U0001f98a",
    "insertion": "${oc.env:TOKEN}",
    "a resolver": "${hydra:run.dir}",
    "upwards": "../../../../etc/passwd",
    "device": "/dev/zero",
    "list": [],
    "numbers": [1, 2, 3],
    "dict": {},
    "code": {"_target_": "trap.spring", "_args_": ["echo"]},
    "deep": "<" + "[" * 900 + "]" * 900 + ">",
    "deeper": "<" + '{"a":' * 50_000 + "1" + "}" * 50_000 + ">",
    "removed": ...,
}
# What the whole file becomes.
FILES: dict[str, Callable[[str], bytes]] = {
    "nothing": lambda text: b"",
    "half": lambda text: text[: len(text) // 2].encode(),
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "bytes": lambda text: bytes(range(256)) * 9,
    "list": lambda text: f"[{text}]".encode(),
    "twice": lambda text: (text + text).encode(),
    "a key twice": lambda text: text.replace('"format": 1', '"format": 1, "format": 99').encode(),
    "other format": lambda text: text.replace('"format": 1', '"format": 2').encode(),
    "more": lambda text: text.replace('"config": {', '"config": {"hydra": {"callbacks": {"a": 1}},').encode(),
}

READS = (["runs"], ["runs", "--json"], ["diff", "RUN", "whole"], ["diagnose", "run=RUN"], ["board", "RUN"])
PAGES = (["show", "RUN"], ["report", "RUN"])  # they take longer: one of them for each mutation, in turn
_LITTLE = ["trainer.max_steps=5", "trainer.max_epochs=1", "trainer.num_samples=0", "trainer.histograms=false"]
_LITTLE += ["trainer.figures=false", "trainer.devices=1", "trainer.threads=1", "trainer.xray_every=null"]
USES = (  # each opens the run by the same function: one of them for each mutation, in turn
    ["evaluate", "run=RUN", "split=valid"],
    ["generate", "run=RUN", "length=3"],
    ["predict", "run=RUN", "text=a fine day"],
    ["train", "resume=RUN", *_LITTLE],
    ["compare", "RUN", "whole", "--resamples", "10"],
    ["xray", "run=RUN", "rows=1", "steps=4", "places=2"],
    ["explore", "run=RUN", "tokens=50", "hold=0"],
)


def paths(content: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield where each value stands, sections too."""
    for key, value in content.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from paths(value, (*before, key))


def mutations(content: dict[str, Any], draw: random.Random) -> list[tuple[str, bytes]]:
    """Change every field in one way, and the file as a whole in all."""
    text = json.dumps(content)
    found = [(f"file: {name}", change(text)) for name, change in FILES.items()]
    kinds: list[str] = []
    for path in paths(content):
        if not kinds:
            kinds = draw.sample(list(VALUES), len(VALUES))
        kind = kinds.pop()
        found.append((f"{'.'.join(path)}: {kind}", _put(content, path, VALUES[kind])))
    return found


def _put(content: dict[str, Any], path: tuple[str, ...], value: Any) -> bytes:
    changed = json.loads(json.dumps(content))
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    if value is ...:
        del inside[path[-1]]
        return json.dumps(changed).encode()
    is_raw = isinstance(value, str) and value.startswith("<")
    inside[path[-1]] = "@here@" if is_raw else value
    text = json.dumps(changed)
    return (text.replace('"@here@"', value[1:-1]) if is_raw else text).encode()


class _Served:
    """Stands in for TensorBoard's process."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        pass

    def terminate(self) -> None:
        pass

    def wait(self) -> int:
        return 0


@pytest.fixture
def run_verb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs a verb on a mutated run; tells what is wrong with its end, "" if nothing is."""
    marker = tmp_path / "marker"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/trap.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).write_text('ran')\n")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    monkeypatch.setenv("TOKEN", SECRET)
    monkeypatch.setattr(board.subprocess, "Popen", _Served)
    monkeypatch.setattr(board, "_serve", lambda *arguments, **keywords: 0)

    def run(argv: list[str]) -> str:
        capsys.readouterr()
        code = main(argv)
        told = capsys.readouterr()
        wrong = []
        if code not in (FINE, CONFIG, DATA, CHECKPOINT, DIVERGED, IN_USE):
            wrong.append(f"exit code {code}")
        lines = [line for line in told.err.splitlines() if line.startswith("error: ")]
        if bool(code) != bool(lines) or len(lines) > 1 or (lines and told.err.splitlines()[-1] != lines[-1]):
            wrong.append(f"{len(lines)} lines of error with exit code {code}: {told.err[-500:]!r}")
        if lines and (len(lines[0]) > 2500 or not lines[0].isprintable()):
            wrong.append(f"a line of {len(lines[0])} characters: {lines[0][:200]!r}")
        if "Traceback" in told.err:
            wrong.append("a traceback")
        if SECRET in told.out + told.err:
            wrong.append("the secret was told")
        if marker.exists():
            wrong.append("code of the run was executed")
        return ", ".join(wrong)

    handler = signal.getsignal(signal.SIGTERM)
    yield run
    signal.signal(signal.SIGTERM, handler)  # board puts up its own


@pytest.mark.parametrize("group", range(GROUPS))
def test_whatever_stands_in_run_json_is_data(group: int, finished: Path, run_verb: Callable[[list[str]], str]):
    task = ("music", "sentiment", "next_word")[group % 3]
    shutil.copytree(finished / task, finished / "whole", symlinks=True)
    content = json.loads((finished / task / "run.json").read_bytes())
    mine = list(enumerate(mutations(content, random.Random(group % 3))))[group // 3 :: GROUPS // 3]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wrong = []
    for number, (what, data) in mine:
        run = finished / "mutated"
        shutil.copytree(finished / task, run, symlinks=True)
        (run / "run.json").write_bytes(data)
        several = (PAGES[number % len(PAGES)], USES[number % len(USES)])
        for argv in (*READS, *several, ["rm", "mutated", "--yes"]):
            try:
                told = run_verb([word.replace("RUN", "mutated") for word in argv])
            except Exception as error:
                told = f"{type(error).__name__}: {str(error)[:300]}"
            if told:
                wrong.append(f"{number}, {what}: rnnlab {' '.join(argv[:2])}: {told}")
        shutil.rmtree(run, ignore_errors=True)
    assert not wrong, "\n".join(wrong)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KIB


def test_every_field_is_changed_and_in_every_way(finished: Path):
    found: list[str] = []
    for number, task in enumerate(("music", "sentiment", "next_word")):
        content = json.loads((finished / task / "run.json").read_bytes())
        changed = [what for what, _ in mutations(content, random.Random(number))]
        assert {what.partition(":")[0] for what in changed} == {"file", *(".".join(path) for path in paths(content))}
        found += changed
    assert len(found) > 300
    assert {what.rpartition(": ")[2] for what in found} == {*VALUES, *FILES}
