"""`rnnlab board`: TensorBoard on the runs under outputs/, on this machine only."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from rnnlab.commandline.options import one_line_errors
from rnnlab.commands._details import expand
from rnnlab.disk import cannot_write
from rnnlab.errors import CheckpointError, ConfigError
from rnnlab.run_lookup import find_run
from rnnlab.runs import outputs_root, run_names
from rnnlab.training.signals import end_with_parent

HOST = "127.0.0.1"
_FIRST_PORT = 6006  # TensorBoard's own
_START_SECONDS = 300  # on a busy machine it takes a minute
# A resumed run has several files; of samples TensorBoard keeps ten a tag, spread over the run, unless it is told more.
_OPTIONS = ("--reload_multifile=true", "--reload_interval=5", "--samples_per_plugin=images=30,audio=20,text=30")


def main(argv: list[str]) -> int:
    """Start TensorBoard, say where it is, and stay until Ctrl-C.

    Args:
        argv: What follows the verb.

    Returns:
        0 after Ctrl-C, else TensorBoard's exit code.

    Raises:
        CheckpointError: There is no such run or sweep, or none at all.
        ConfigError: The port is taken.
    """
    parser = argparse.ArgumentParser(prog="rnnlab board", description="Open TensorBoard on the runs under outputs/.")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="only these runs or sweeps; all if none is named")
    parser.add_argument("--port", type=int, help=f"the port; the first free one from {_FIRST_PORT} on if not given")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    arguments = one_line_errors(parser).parse_args(argv)
    if not arguments.runs and not run_names():
        raise CheckpointError(f"no runs in {outputs_root()} to show; rnnlab train makes one")
    port = free_port(arguments.port)
    with ExitStack() as stack:
        logdir = outputs_root().absolute()
        if arguments.runs:
            logdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rnnlab-board-")))
            link_runs([find_run(name, has_begun=False) for name in expand(arguments.runs)], logdir)
        # -P: a tensorboard/ in this folder is not the one that is meant.
        command = [sys.executable, "-P", "-m", "tensorboard.main", "--logdir", str(logdir)]
        command += ["--host", HOST, "--port", str(port), *_OPTIONS]
        # A file, not a pipe: nobody reads a pipe while TensorBoard serves, and a full one would stop it.
        complaints = stack.enter_context(tempfile.TemporaryFile("w+"))
        # TensorBoard must not outlive this command, whoever ends it: nor kill -9, where Linux sees to it.
        process = subprocess.Popen(command, stderr=complaints, preexec_fn=end_with_parent)
        signal.signal(signal.SIGTERM, _stop)
        try:
            return _serve(process, port, complaints, browser=has_browser() and not arguments.no_browser)
        except KeyboardInterrupt:
            return 0
        finally:
            process.terminate()
            process.wait()


def free_port(wanted: int | None) -> int:
    """Return the wanted port if it is free, else the first free one from TensorBoard's usual on.

    Raises:
        ConfigError: The wanted port is taken or no port.
    """
    if wanted is not None and not 0 < wanted < 65536:
        raise ConfigError(f"--port must be from 1 to 65535, got {wanted}")
    for port in [wanted] if wanted is not None else range(_FIRST_PORT, _FIRST_PORT + 100):
        with socket.socket() as probe:
            # As TensorBoard does: a port that closed a second ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port
    taken = f"port {wanted} is" if wanted is not None else f"ports {_FIRST_PORT} to {_FIRST_PORT + 99} are"
    raise ConfigError(f"{taken} taken; choose another with --port")


def has_browser() -> bool:
    """Whether a page that is opened here is seen by the one who typed: not over ssh, and not without a display.

    $BROWSER says that there is one, wherever this is.
    """
    if os.environ.get("BROWSER"):
        return True
    if any(os.environ.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    # Without a display Python would start w3m or lynx in this terminal.
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def link_runs(folders: list[Path], logdir: Path) -> None:
    """Show some runs under their own names: TensorBoard names runs by the folders below its logdir.

    Raises:
        CannotWriteError: The links cannot be made.
    """
    for folder in folders:
        folder = folder.resolve()
        root = outputs_root().resolve()
        link = logdir / (folder.relative_to(root) if folder.is_relative_to(root) else folder.name)
        try:
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(folder, target_is_directory=True)
        except OSError as error:
            raise cannot_write(link, error) from None


def _stop(number: int, frame: object) -> None:
    """End as after Ctrl-C, with SIGTERM's exit code."""
    sys.exit(128 + number)


def _serve(process: subprocess.Popen[bytes], port: int, complaints: IO[str], *, browser: bool) -> int:
    """Say where TensorBoard is once it answers, wait for its end, pass its complaints on; return its exit code."""
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline and not _answers(port):
        time.sleep(0.1)
    if process.poll() is None:
        address = f"http://{HOST}:{port}/"
        print(f"TensorBoard: {address}  (Ctrl-C stops it)", flush=True)
        if browser:
            webbrowser.open(address)
    code = process.wait()
    if code != 0:
        complaints.seek(0)
        print(complaints.read().strip()[-2000:], file=sys.stderr)
    return code


def _answers(port: int) -> bool:
    """Whether something listens."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0
