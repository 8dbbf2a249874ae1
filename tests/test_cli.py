"""The dispatcher: verbs, exit codes, one line for what a user can mend, a traceback for a bug."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnlab import cli
from rnnlab.errors import DataError, StoppedError


@pytest.fixture(autouse=True)
def outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable], None]:
    """Put a function in the place of the evaluate verb, which would import torch."""

    def install(run: Callable) -> None:
        module = types.ModuleType("rnnlab.commands.evaluate")
        module.run = run  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "rnnlab.commands.evaluate", module)

    return install


def raising(error: BaseException) -> Callable:
    def run(request: object) -> int:
        raise error

    return run


def rnnlab(*argv: str, **kwargs: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnnlab", *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **kwargs)  # type: ignore[call-overload]


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"]])
def test_help_names_every_command_and_how_to_start(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.main(argv) == 0
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in cli.VERBS)
    assert "rnnlab train task=sentiment model=lstm" in told
    assert all(len(line) <= 80 for line in told.splitlines())


@pytest.mark.parametrize("argv", [["--version"], ["-V"], ["train", "--version"]])
def test_the_version_is_rnnlabs_own(argv: list[str], capsys: pytest.CaptureFixture[str]):
    assert cli.main(argv) == 0
    assert capsys.readouterr().out.startswith("rnnlab 0.")


def test_an_unknown_verb_is_told_with_a_close_match(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["trian"]) == 2
    assert capsys.readouterr().err == "error: no command 'trian'; did you mean train? (rnnlab --help lists them)\n"


def test_help_and_settings_in_force_need_no_torch_and_help_no_hydra():
    code = (
        "import sys; from rnnlab.cli import main; main({argv}); print({modules} & sys.modules.keys(), file=sys.stderr)"
    )
    for argv, modules in {
        "['--help']": {"torch", "hydra", "omegaconf", "rich", "yaml"},
        "['train', '--help']": {"torch", "hydra"},
        "['train', '--cfg', 'job']": {"torch", "tensorboard"},
        "['-sc', 'query=bash']": {"torch", "hydra"},
        "['runs']": {"torch", "hydra", "omegaconf"},
    }.items():
        script = code.format(argv=argv, modules=modules)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert done.stderr == "set()\n", argv


def test_torch_is_told_to_let_idle_threads_sleep_before_it_loads(monkeypatch: pytest.MonkeyPatch):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    cli.main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cli.main(["--version"])
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_a_verb_gets_its_request_and_gives_the_exit_code(verb: Callable):
    asked = []
    verb(lambda request: asked.append(request) or 3)
    assert cli.main(["evaluate", "run=a", "--json", "split=valid"]) == 3
    assert (asked[0].settings.run, asked[0].settings.json, asked[0].config["split"]) == ("a", True, "valid")


def out_of_memory() -> BaseException:
    return type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 3 GiB")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (DataError("reviews.csv, line 3: no label"), 3, "error: reviews.csv, line 3: no label"),
        (
            StoppedError("stopped by SIGTERM after saving step 3", 143),
            143,
            "error: stopped by SIGTERM after saving step 3",
        ),
        (out_of_memory(), 6, "lower trainer.batch_size, trainer.bptt_len or model.hidden_size"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            6,
            "error: out of memory (",
        ),
        (MemoryError(), 6, "error: out of memory; lower"),
        (OSError(errno.ENOSPC, "No space left on device", "x/last"), 7, "error: cannot write x/last: No space left"),
        (OSError(errno.EROFS, "Read-only file system"), 7, "error: cannot write the results: Read-only"),
        (PermissionError(errno.EACCES, "Permission denied", "y"), 7, "error: cannot write y: Permission denied"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_a_code(
    verb: Callable, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, message: str
):
    verb(raising(error))
    assert cli.main(["evaluate", "run=a"]) == code
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1


def test_a_closed_pipe_is_no_bug_where_rich_prints():
    table = """
import os, sys
from rnnlab import cli
from rnnlab.commands import runs
from rnnlab.commands._tables import print_table
reader, writer = os.pipe()
os.dup2(writer, 1)
os.close(reader)  # as `head` does when it has seen enough
runs.main = lambda argv: print_table(["run"], [["x" * 100]] * 1000, left=1)
sys.exit(cli.main(["runs"]))
"""
    assert subprocess.run([sys.executable, "-c", table], capture_output=True, check=False).returncode == 141


def test_debug_shows_the_traceback_as_well(verb: Callable, capsys: pytest.CaptureFixture[str]):
    verb(raising(DataError("no label")))
    assert cli.main(["evaluate", "--debug", "run=a"]) == 3
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.endswith("error: no label\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("x"), RuntimeError("shapes"), OSError(errno.ENOENT, "gone")])
def test_a_bug_keeps_its_traceback(verb: Callable, error: Exception):
    verb(raising(error))
    with pytest.raises(type(error)):
        cli.main(["evaluate", "run=a"])


def test_a_command_runs_alone_in_its_process_but_may_call_another(verb, capsys: pytest.CaptureFixture[str]):
    codes = []

    def elsewhere() -> None:
        codes.append(cli.main(["runs"]))

    def run(request: object) -> int:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        return cli.main(["runs"])

    verb(run)
    assert cli.main(["evaluate", "run=a"]) == 0
    assert codes == [2]
    told = capsys.readouterr().err
    wanted = "error: another thread of this process runs an rnnlab command; run this one in a process of its own\n"
    assert told == wanted
    elsewhere()
    assert codes == [2, 0]


def test_shortcuts_stand_for_settings(monkeypatch: pytest.MonkeyPatch):
    asked = {}
    for name in ("train", "predict"):
        module = types.ModuleType(name)
        module.run = lambda request: asked.update({request.command: request.settings}) or 0  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, f"rnnlab.commands.{name}", module)
    assert cli.main(["train", "--dry-run"]) == 0
    assert cli.main(["predict", "run=a", "-", "--json"]) == 0
    assert asked["train"].dry_run
    assert (asked["predict"].file, asked["predict"].json) == ("-", True)


def test_hydra_itself_shows_settings_and_search_path(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "model=gru", "--cfg", "job", "--package", "model", "model.dropout=0.25"]) == 0
    told = capsys.readouterr().out
    assert "cell: gru\n" in told
    assert "dropout: 0.25\n" in told
    assert cli.main(["train", "--info", "searchpath"]) == 0
    assert cli.main(["train", "--hydra-help"]) == 0


def test_settings_are_checked_before_hydra_shows_them(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["train", "--cfg", "job", "model.hiden_size=3"]) == 2
    assert cli.main(["train", "--cfg", "job", "--package", "modle"]) == 2
    assert "there is no modle; did you mean model" in capsys.readouterr().err


def test_free_text_survives_hydras_grammar(capsys: pytest.CaptureFixture[str]):
    import yaml

    text = "a, 'b' \"c\" [x=1]: \\"
    assert cli.main(["generate", "--cfg", "job", "run=r", f"prompt={text}"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["prompt"] == text


def test_a_closed_pipe_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnlab", "train", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed, tmp_path):
    command = f"{sys.executable} -m rnnlab runs {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    wrong = subprocess.run(
        command.replace("runs", "rnus"), shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert bool(wrong.stderr) == ("2>&-" not in closed)


def test_a_file_does_not_take_the_number_of_a_closed_stream(tmp_path):
    script = "import rnnlab.cli as cli\n"
    script += f"def run(argv):\n    with open({str(tmp_path / 'file')!r}, 'w') as file: return file.fileno()\n"
    script += "cli._run = run\nraise SystemExit(cli.main(['runs']))"
    done = subprocess.run(["sh", "-c", f'exec {sys.executable} -c "$0" <&- >&- 2>&-', script], check=False)
    assert done.returncode > 2


@pytest.mark.parametrize("verb", ["doctor", "runs", "train"])
def test_a_current_folder_that_was_removed_is_told(verb, tmp_path):
    (tmp_path / "gone").mkdir()
    command = ["sh", "-c", f"cd gone && rmdir ../gone && exec {sys.executable} -m rnnlab {verb}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "error: the folder that you are in was removed; cd to another\n")


def test_help_takes_a_verb(capsys: pytest.CaptureFixture[str]):
    assert cli.main(["help", "runs"]) == 0
    assert capsys.readouterr().out.startswith("usage: rnnlab runs")


def test_ctrl_c_while_importing_is_quiet():
    script = "import os, signal, sys, rnnlab.cli as cli\n"
    script += "cli._run = lambda argv: os.kill(os.getpid(), signal.SIGINT)\nsys.exit(cli.main([]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (128 + signal.SIGINT, "stopped\n")


def test_a_mistake_ends_the_process_with_its_code_and_one_line():
    done = rnnlab("train", "model=lstmm")
    assert done.returncode == 2
    assert done.stderr == "error: model has no choice 'lstmm'; did you mean lstm? choose one of gru, irnn, lstm, rnn\n"


def catches(process: subprocess.Popen, number: int) -> bool:
    """Whether a process has put up a handler of its own for a signal."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def test_the_handlers_of_train_stand_before_torch_is_imported_and_those_of_others_not_at_all(monkeypatch):
    found = []
    monkeypatch.setattr(cli, "_run", lambda argv: found.append(signal.getsignal(signal.SIGTERM)) or 0)
    for verb in ("train", "runs"):
        assert cli.main([verb]) == 0
    assert [handler is signal.SIG_DFL for handler in found] == [False, True]
    script = "import sys, rnnlab.cli as cli\ncli._run = lambda argv: int('torch' in sys.modules)\n"
    assert subprocess.run([sys.executable, "-c", script + "sys.exit(cli.main(['train']))"], check=False).returncode == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells which signals a process catches")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_job_that_is_stopped_while_it_imports_torch_exits_as_documented(number, tmp_path):
    command = [sys.executable, "-m", "rnnlab", "train", "task=music", "task.corpus=nowhere.abc"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    while not catches(process, number) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(number)
    _, told = process.communicate(timeout=100)
    assert (process.returncode, told) == (128 + number, f"stopped by {number.name}\n")
    assert not list(tmp_path.iterdir())
