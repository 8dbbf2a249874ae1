"""`rnnlab board`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rnnlab import runs
from rnnlab.commands.board import HOST, free_port, has_browser, link_runs, main
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.json_files import write_json


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


def make_run(name: str) -> Path:
    folder = runs.create_run(name, exact=True)
    write_json(folder / "run.json", {"format": 1})
    return folder


def test_without_runs_there_is_nothing_to_show():
    with pytest.raises(CheckpointError, match=r"no runs in .* to show; rnnlab train makes one"):
        main([])


def test_a_run_that_is_not_there_is_told_before_anything_starts():
    make_run("a")
    with pytest.raises(CheckpointError, match="no run 'b'"):
        main(["b"])


def test_a_taken_port_is_told_or_passed_over():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port} is taken; choose another with --port"):
            free_port(port)
    assert 6006 <= free_port(None) < 6106
    with pytest.raises(ConfigError, match="--port must be from 1 to 65535, got 70000"):
        free_port(70_000)


def test_chosen_runs_are_shown_under_their_own_names(tmp_path: Path):
    links = tmp_path / "links"
    links.mkdir()
    first, second = make_run("a"), make_run("sweep-1/0")
    link_runs([first, second, first], links)
    assert (links / "a" / "run.json").is_file()
    assert (links / "sweep-1" / "0" / "run.json").is_file()


def test_it_listens_on_this_machine_alone_and_loads_nothing_of_this_folder(monkeypatch: pytest.MonkeyPatch):
    started = []

    def start(command: list[str], **_: object) -> None:
        started.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    make_run("a")
    with pytest.raises(KeyboardInterrupt):
        main(["--no-browser"])
    (command,) = started
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "-P" in command[: command.index("-m")]
    assert not any("bind_all" in word for word in command)


def test_runs_and_sweeps_may_be_named_as_other_commands_name_them(monkeypatch: pytest.MonkeyPatch):
    shown = []

    def start(command: list[str], **_: object) -> None:
        folder = Path(command[command.index("--logdir") + 1])
        shown.extend(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink()))
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start)
    for name in ("a", "b", "sweep-1/0", "sweep-1/1"):
        make_run(name)
    with pytest.raises(KeyboardInterrupt):
        main(["run=a", "sweep-1", "--no-browser"])
    assert shown == ["a", "sweep-1/0", "sweep-1/1"]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 0),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")),
    ],
)
def test_it_serves_until_ctrl_c_or_a_kill_and_leaves_nothing(number: int, code: int):
    make_run("a")
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "rnnlab", "board", "a", "--no-browser", "--port", str(port)]
    # A group of its own: where this test fails, TensorBoard goes too.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ, start_new_session=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == f"TensorBoard: http://{HOST}:{port}/  (Ctrl-C stops it)\n"
        with urllib.request.urlopen(f"http://{HOST}:{port}/data/environment", timeout=30) as answer:
            assert answer.status == 200
        process.send_signal(number)
        _, complaints = process.communicate(timeout=30)  # until TensorBoard, too, has closed these pipes
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert (process.returncode, complaints) == (code, "")


@pytest.mark.parametrize(
    ("environment", "opens"),
    [
        ({}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 22 10.0.0.2 22"}, False),
        ({"SSH_TTY": "/dev/pts/0", "BROWSER": "firefox"}, True),
    ],
)
def test_a_browser_is_opened_only_where_it_is_seen(environment, opens, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert has_browser() is opens
