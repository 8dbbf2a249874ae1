"""`trainer.devices=N` and torchrun, as a user meets them: started, killed, stopped, refused."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.conftest import tiny

from rnnlab.cli import main
from rnnlab.commands import _launch
from rnnlab.commands._launch import _Ranks
from rnnlab.errors import LostRankError, UserError
from rnnlab.json_files import read_json, write_json
from rnnlab.runs import record_result
from rnnlab.training.place import STORE, Place, environment, this_place

WAIT = 120  # seconds; nothing is that slow, and nothing hangs


def start(*arguments, module=("rnnlab",)):
    command = [sys.executable, "-m", *module, "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process):
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def rank_of(pid):
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(int(text[5:]) for text in variables if text.startswith(b"RANK="))


def wait_for(condition):
    until = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_killed_rank_ends_the_run_with_a_line_that_names_it_and_the_run_goes_on(outputs, corpora):
    steps = ("trainer.max_steps=null", "trainer.max_epochs=1000000", "trainer.checkpoint_every_steps=2")
    process = start(*tiny("music", corpora, *steps), "trainer.devices=2", "name=run")
    try:
        wait_for(lambda: (outputs / "run/checkpoints/last").exists() or process.poll() is not None)
        (second,) = [pid for pid in children(process) if rank_of(pid) == 1]
        os.kill(second, signal.SIGKILL)
        errors = process.communicate(timeout=WAIT)[1]
    finally:
        process.kill()
    assert process.returncode == 10, errors
    wanted = rf"error: rank 1 of 2 \(process {second}\) was killed by SIGKILL; .*; go on: rnnlab train resume=run"
    assert re.fullmatch(wanted, errors.splitlines()[-1])
    assert "Traceback" not in errors
    assert errors.count("error:") == 1
    result = json.loads((outputs / "run/result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("failed", 10)

    resumed = start("resume=run", "trainer.max_minutes=0.0001")  # the number of processes is the run's
    output, errors = resumed.communicate(timeout=WAIT)
    assert resumed.returncode == 0, errors
    assert "processes: 2, 4 of the 8 rows" in errors
    assert "resumed at step" in errors
    assert "equal to rounding" not in errors
    assert output.count("\nrun: ") == 1


def test_torchrun_starts_the_processes_and_a_signal_stops_them_after_the_same_step(outputs, corpora):
    steps = ("trainer.max_steps=null", "trainer.max_epochs=1000000", "trainer.eval_every_steps=2")
    torchrun = ("torch.distributed.run", "--nproc-per-node=2", "-m", "rnnlab")
    process = start(*tiny("next_word", corpora, *steps), "name=run", module=torchrun)
    try:
        wait_for(lambda: (outputs / "run/checkpoints/last").exists() or process.poll() is not None)
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=WAIT)[1]
    finally:
        process.kill()
    result = json.loads((outputs / "run/result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("stopped", 143), errors
    run = json.loads((outputs / "run/run.json").read_text())
    assert run["config"]["trainer"]["devices"] == 2
    assert (outputs / f"run/checkpoints/step-{result['steps']:08d}").is_dir()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["trainer.devices=3"], "trainer.batch_size=8 cannot be divided among trainer.devices=3; try 6 or 9"),
        (["trainer.devices=16"], "trainer.batch_size=8 cannot be divided among trainer.devices=16; try 16"),
        (["trainer.devices=2", "trainer.device=mps"], "trainer.devices=2 is for trainer.device=cpu or cuda, got mps"),
        (["trainer.devices=0"], "trainer.devices must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_anything_starts(settings, words, outputs, corpora, capsys):
    assert main(["train", *tiny("music", corpora, *settings)]) == 2
    assert words in capsys.readouterr().err
    assert not outputs.exists()


@pytest.mark.parametrize(
    ("size", "settings", "words"),
    [
        (2, ["trainer.devices=4"], "trainer.devices=4 but torchrun has started 2 processes"),
        (2, ["trainer.devices=1"], "trainer.devices=1 but torchrun has started 2 processes"),
        (3, [], "trainer.batch_size=8 cannot be divided among trainer.devices=3; try 6 or 9"),
        ("many", [], "which is not told: RANK=0 WORLD_SIZE=many"),
    ],
)
def test_torchrun_and_the_settings_must_agree(size, settings, words, outputs, corpora, capsys, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    for name, value in {"RANK": 0, "WORLD_SIZE": size, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": size}.items():
        monkeypatch.setenv(name, str(value))
    assert main(["train", *tiny("music", corpora, *settings)]) == 2
    assert words in capsys.readouterr().err
    assert not outputs.exists()


def test_a_process_knows_its_place(monkeypatch, tmp_path):
    place = Place(1, 4, 1, 2, tmp_path)
    assert this_place() is None
    for name, value in environment(place).items():
        monkeypatch.setenv(name, value)
    assert this_place() == place
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert this_place() is None
    monkeypatch.delenv(STORE)  # numbers that another program has left are none of ours
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert this_place() is None


# What each of two processes does, instead of training.
SCRIPT = """
import os, signal, sys, time
rank = int(os.environ["RANK"])
code = {0: sys.argv[1], 1: sys.argv[2]}[rank]
if rank == 0:
    open(os.environ["RNNLAB_STORE"] + "/run", "w").write("my run")
if code == "wait":
    time.sleep(100)
if code == "bug":
    raise ZeroDivisionError("of rank 1")
if code.startswith("-"):
    os.kill(os.getpid(), -int(code))
print("error: no corpus here", file=sys.stderr)
sys.exit(int(code))
"""


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    monkeypatch.setattr(_launch, "GRACE_SECONDS", 0.5)
    return lambda *codes: _Ranks(len(codes), [sys.executable, "-c", SCRIPT, *codes], tmp_path)


@pytest.mark.parametrize(
    ("codes", "code"),
    [(("0", "0"), 0), (("3", "3"), 3), (("3", "wait"), 3), (("143", "143"), 143), (("7", "10"), 7), (("0", "10"), 0)],
)
def test_what_the_first_has_said_is_what_counts(codes, code, ranks):
    assert ranks(*codes).run() == code


@pytest.mark.parametrize(
    ("codes", "code", "words"),
    [
        (("10", "3"), 3, "rank 1 of 2: no corpus here"),
        (("wait", "6"), 6, "rank 1 of 2: no corpus here"),
        (("10", "bug"), 1, "rank 1 of 2: ZeroDivisionError: of rank 1"),
        (("10", "-9"), 10, "was killed by SIGKILL; the system does that when memory runs out; the others have ended, "),
        (("-9", "10"), 10, r"rank 0 of 2 \(process \d+\) was killed by SIGKILL"),
        (("wait", "-11"), 10, "was killed by SIGSEGV; the others have ended, .* go on: rnnlab train resume='my run'"),
        (("10", "10"), 10, "the 2 processes of the run have lost each other"),
    ],
)
def test_a_rank_that_failed_is_named(codes, code, words, ranks, capfd):
    with pytest.raises(UserError, match=words) as caught:
        ranks(*codes).run()
    assert caught.value.exit_code == code
    assert ("Traceback" in capfd.readouterr().err) == ("bug" in codes)  # a bug's is shown whole
    assert isinstance(caught.value, LostRankError) == (code == 10)


@pytest.mark.parametrize("codes", [("wait", "-9"), ("-9", "10"), ("10", "3")])
def test_the_result_of_a_first_process_that_could_not_tell_it_is_written(codes, ranks, outputs):
    folder = outputs / "my run"
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"format": 1})
    record_result(folder, "running", {"steps": 7})
    with pytest.raises(UserError) as caught:
        ranks(*codes).run()
    result = read_json(folder / "result.json")
    assert (result["status"], result["exit_code"]) == ("failed", caught.value.exit_code)
    assert (result["steps"], result["pid"]) == (7, os.getpid())
    assert result["error"] == f"{type(caught.value).__name__}: {caught.value}"


def test_a_result_that_the_first_process_has_written_stays(ranks, outputs):
    folder = outputs / "my run"
    folder.mkdir(parents=True)
    write_json(folder / "run.json", {"format": 1})
    record_result(folder, "failed", {}, LostRankError("as the first process saw it"))
    with pytest.raises(LostRankError):
        ranks("10", "-9").run()
    assert read_json(folder / "result.json")["error"] == "LostRankError: as the first process saw it"


def test_a_signal_is_passed_on_and_a_rank_that_could_not_catch_it_has_not_failed(ranks):
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert ranks("wait", "wait").run() == 143
    timer.join()


def test_a_sweep_is_not_for_torchrun(corpora, capsys, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "none", **environment(Place(0, 2, 0, 2, None))}.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "-m", *tiny("music", corpora), "seed=0,1"]) == 2
    assert "leave torchrun out" in capsys.readouterr().err


def test_a_window_length_measured_by_the_first_process_holds_for_all(outputs, corpora, train):
    settings = ["task.delay=4", "model=gru", "trainer.max_steps=3", "trainer.bptt_len=3", "trainer.auto_bptt_len=true"]
    settings.append("trainer.xray_every=2")  # the first process looks, the others wait for its next gradient
    alone = train("copy", *settings, name="alone")
    process = start(*tiny("copy", corpora, *settings), "trainer.devices=2", "name=two")
    errors = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 0, errors
    assert errors.count("a warm-up of 200 steps") == 1
    folders = (alone, outputs / "two")
    runs = [json.loads((folder / "run.json").read_text()) for folder in folders]
    settings = [run["config"]["trainer"] for run in runs]
    assert runs[1]["measured_bptt"] == runs[0]["measured_bptt"]
    assert [one["devices"] for one in settings] == [1, 2]
    assert settings[0]["bptt_len"] == settings[1]["bptt_len"] == runs[0]["measured_bptt"]["shortest_that_passes"]
    losses = [json.loads((folder / "result.json").read_text())["metrics"]["valid/loss"] for folder in folders]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)  # sums over rows in another order
    assert [(folder / "metrics.jsonl").read_text().count("xray/layer_0/lag_slope") for folder in folders] == [1, 1]
    resumed = start("resume=two", "trainer.max_steps=5")
    errors = resumed.communicate(timeout=WAIT)[1]
    assert resumed.returncode == 0, errors
    assert "warm-up" not in errors, "the length is the run's now"
    assert json.loads((outputs / "two/result.json").read_text())["steps"] == 5


def test_a_warm_up_that_diverges_ends_all_processes_with_its_exit_code(outputs, corpora):
    settings = ["task.delay=4", "trainer.bptt_len=3", "trainer.auto_bptt_len=true", "optimizer=sgd", "optimizer.lr=1e6"]
    settings += ["model=rnn", "model.nonlinearity=relu", "trainer.clip_grad_norm=null", "trainer.max_steps=50"]
    process = start(*tiny("copy", corpora, *settings), "trainer.devices=2", "name=two")
    errors = process.communicate(timeout=WAIT)[1]
    assert process.returncode == 5, errors
    assert errors.count("error:") == 1
    assert "Traceback" not in errors
