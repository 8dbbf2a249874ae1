"""What stands around a run: a build without its engine, a device that is not there, a clock that jumps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from rnnlab.cells.cpu import library as engine
from rnnlab.cli import main
from rnnlab.json_files import read_json


@pytest.fixture
def without_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An engine that was cut off while it was copied."""
    (tmp_path / "engine.so").write_bytes(b"\x7fELF cut")
    monkeypatch.setattr(engine, "FILE", tmp_path / "engine.so")
    engine.library.cache_clear()
    yield
    engine.library.cache_clear()


@pytest.mark.usefixtures("without_engine")
@pytest.mark.parametrize("backend", ["auto", "cpu"])
def test_without_the_engine_a_run_goes_on_in_torch_and_says_so_once(backend: str, train, capsys):
    folder = train("music", "model=gru", f"model.backend={backend}")
    told = capsys.readouterr().err
    assert told.count("cannot be loaded") == 1
    assert "cannot be loaded" in read_json(folder / "run.json")["backend"]
    assert main(["generate", "run=run", "length=3"]) == 0


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize(
    "argv", [["train", "trainer."], ["train", "resume=music", "trainer."], ["evaluate", "run=music", ""]]
)
def test_a_device_that_is_not_there_is_told_before_data_is_read(
    argv: list[str], device: str, finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    *words, prefix = argv
    if words == ["train"]:
        words.append("task.corpus=nowhere.csv")
    (finished / "music/vocabulary.json").unlink()
    capsys.readouterr()
    assert main([*words, f"{prefix}device={device}"]) == 2
    assert f"device={device} is not available here, cpu is" in capsys.readouterr().err


def test_a_clock_that_goes_back_and_another_time_zone_change_no_order(
    train, monkeypatch: pytest.MonkeyPatch, scalar_steps
):
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    began = time.time()
    moments = iter(range(10_000_000))
    monkeypatch.setattr(time, "time", lambda: began - 3600 * next(moments))
    try:
        folder = train("music", "trainer.checkpoint_every_steps=2")
        monkeypatch.setenv("TZ", "America/Adak")
        time.tzset()
        assert main(["train", "resume=run", "trainer.max_steps=8", "trainer.max_epochs=9"]) == 0
        assert main(["runs", "--json"]) == 0
    finally:
        monkeypatch.undo()
        time.tzset()
    steps = scalar_steps(folder)
    assert steps == sorted(set(steps))
    assert steps[-1] == 8
    created = read_json(folder / "run.json")["created"]
    assert created.endswith("Z")
    assert abs(time.mktime(time.strptime(created, "%Y-%m-%dT%H:%M:%SZ")) - time.timezone - began) < 600
    assert json.loads((folder / "result.json").read_text())["seconds"] < 600


@pytest.fixture
def scalar_steps():
    """Steps of train/loss in the order in which TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    def read(folder: Path) -> list[int]:
        found = []
        for path in sorted(folder.glob("events.out.tfevents.*")):
            for event in EventFileLoader(str(path)).Load():
                found += [event.step for value in event.summary.value if value.tag == "train/loss"]
        return found

    return read
