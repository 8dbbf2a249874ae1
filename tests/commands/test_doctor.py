"""`rnnlab doctor`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnnlab.commands.doctor import main


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def test_it_reports_software_machine_devices_backends_corpora_and_extras(capsys: pytest.CaptureFixture[str]):
    import torch

    assert main(["--json"]) == 0
    rows = {(row["section"], row["name"]): row for row in json.loads(capsys.readouterr().out)}
    assert rows["software", "torch"]["found"].startswith(torch.__version__.partition("+")[0])
    assert rows["backends", "reference"]["works"] is True
    assert rows["devices", "cpu"]["works"] is True
    assert {section for section, _ in rows} == {"software", "machine", "devices", "backends", "corpora", "extras"}
    assert "usable of" in rows["machine", "cores"]["found"]


def test_the_table_marks_what_works(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    told = capsys.readouterr().out
    assert "\nbackends\n" in told
    assert "\n  + reference " in told


def test_it_says_where_encoded_corpora_are_and_how_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def encoded() -> str:
        main(["--json"])
        return next(row["found"] for row in json.loads(capsys.readouterr().out) if row["name"] == "encoded")

    folder = tmp_path / "cache" / "encoded"
    folder.mkdir(parents=True)
    (folder / "a-1.safetensors").write_bytes(bytes(3 << 20))
    monkeypatch.setenv("RNNLAB_CACHE", str(tmp_path / "cache"))
    assert encoded() == f"{folder}: 1 kept, 3 MiB of at most 2.0 GiB"
    monkeypatch.setenv("RNNLAB_CACHE", "off")
    assert encoded() == "not kept: RNNLAB_CACHE=off"


def test_a_data_folder_that_is_not_there_is_told_and_does_not_stop_the_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("RNNLAB_DATA", "/no/such/folder")
    assert main([]) == 0
    assert "/no/such/folder" in capsys.readouterr().out
