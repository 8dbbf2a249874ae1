"""`rnnlab train`: what a run leaves in its folder, how it is named, locked and resumed."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tests.conftest import tiny

from rnnlab.cli import main
from rnnlab.json_files import read_json
from rnnlab.run_list import list_runs
from rnnlab.tasks.music import Music
from rnnlab.tasks.next_word import NextWord
from rnnlab.training import savepoints
from rnnlab.training.console import Progress
from rnnlab.training.savepoints import Savepoints
from rnnlab.training.scoring import Scoring

METRICS = {
    "next_word": {"loss", "perplexity"},
    "sentiment": {"loss", "accuracy", "macro_f1"},
    "music": {"loss", "bits_per_char"},
}


@pytest.mark.parametrize("task", METRICS)
def test_a_run_is_one_folder(task, finished):
    run = finished / task
    found = {"events" if path.name.startswith("events.") else path.name for path in run.iterdir()}
    assert found == {
        ".hydra",
        ".lock",
        "checkpoints",
        "events",
        "metrics.jsonl",
        "result.json",
        "rnnlab.log",
        "run.json",
        "samples",
        "vocabulary.json",
    }
    assert {path.name for path in (run / ".hydra").iterdir()} == {"config.yaml", "overrides.yaml"}
    assert (run / "checkpoints/last").resolve().name == "step-00000004"
    assert (run / "checkpoints/best").resolve().is_dir()
    assert (run / "samples/step-00000004.txt").read_text().strip()


@pytest.mark.parametrize("task", METRICS)
def test_result_json_says_how_the_run_ended_and_how_good_it_is(task, finished):
    result = read_json(finished / task / "result.json")
    assert (result["status"], result["exit_code"], result["steps"], result["best_step"]) == ("done", 0, 4, 4)
    assert set(result["metrics"]) == {f"{split}/{name}" for split in ("valid", "test") for name in METRICS[task]}
    assert result["metric"] in result["metrics"]
    assert result["seconds"] > 0
    assert result["checkpoint_seconds"] > 0
    assert result["tokens_per_second"] > 0


@pytest.mark.parametrize("task", METRICS)
def test_the_log_says_once_how_long_the_start_took(task, finished):
    lines = (finished / task / "rnnlab.log").read_text().splitlines()
    assert len([line for line in lines if " INFO ready in " in line]) == 1


@pytest.mark.parametrize(("task", "told"), [("sentiment", 1), ("music", 1), ("next_word", 0)])
def test_padding_is_told_once_where_there_is_any(task, told, finished):
    lines = (finished / task / "rnnlab.log").read_text().splitlines()
    share = read_json(finished / task / "run.json").get("padding_share")
    assert len([line for line in lines if " an epoch; padding " in line]) == told
    assert (share is None) == (told == 0)
    if share is not None:
        assert 0 <= share < 1
        assert any(line.endswith(f" an epoch; padding {100 * share:.1f} % of the steps") for line in lines)


def test_run_json_says_what_was_built(finished, corpora):
    run = read_json(finished / "sentiment/run.json")
    assert (run["format"], run["name"], run["seed"], run["device"]) == (1, "sentiment", 0, "cpu")
    assert run["config"]["model"]["hidden_size"] == 6
    assert run["choices"]["model"] == "lstm"
    assert f"task.corpus={corpora['sentiment']}" in run["overrides"]
    assert set(run["versions"]) == {"rnnlab", "torch", "python"}
    assert len(run["vocabulary_hash"]) == len(run["corpus"]["sha256"]) == 64
    assert run["corpus"]["train_texts"] + run["corpus"]["valid_texts"] + run["corpus"]["test_texts"] == 240
    assert {"backend", "threads", "allocator", "num_parameters", "git_commit", "working_directory"} <= set(run)


def test_the_log_says_what_ran_with_times(finished):
    lines = (finished / "music/rnnlab.log").read_text().splitlines()
    assert all(line[:2] == "20" and " INFO " in line for line in lines)
    for words in ("model: lstm", "cells: ", "device: cpu", "step 4", "bits_per_char"):
        assert any(words in line for line in lines), words


def test_the_last_line_names_the_folder_and_those_before_what_to_type_next(train, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    train("sentiment", name="my first run")
    told = capsys.readouterr().out
    *lines, last = told[told.index("\nnext\n") :].split("\n")[2:-1]
    assert last == "run: outputs/my first run"
    assert [line.split("   ")[0].strip() for line in lines] == [
        "rnnlab show 'my first run'",
        "rnnlab predict run='my first run' text='not bad at all'",
        "rnnlab report 'my first run'",
        "rnnlab board 'my first run'",
    ]
    assert (Path(last.removeprefix("run: ")) / "result.json").is_file()


def test_a_dry_run_writes_nothing(train, outputs, capsys):
    train("sentiment", "dry_run=true")
    told = capsys.readouterr()
    assert not outputs.exists()
    assert "dry run: first window (T, B) = " in told.err
    assert told.out == ""


def test_a_warm_up_that_lasts_as_long_as_the_run_is_refused_before_there_is_a_folder(train, outputs, capsys):
    changes = ["scheduler=cosine", "scheduler.warmup_steps=12", "trainer.max_epochs=2", "trainer.max_steps=null"]
    train("music", *changes, exit_code=2)
    told = capsys.readouterr().err.splitlines()[-1]
    assert "scheduler.warmup_steps must be below the 12 steps of trainer.max_epochs=2, got 12; try 1" in told
    assert not outputs.exists()
    train("music", *[text.replace("=12", "=11") for text in changes])


@pytest.mark.parametrize(("precision", "width"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_the_log_names_the_width_that_the_cells_run_in(precision, width, train, capsys):
    run = train("music", f"trainer.precision={precision}")
    assert f"(CPU, {width}" in (run / "rnnlab.log").read_text()
    assert read_json(run / "run.json")["backend"].startswith("cpu (CPU, " + width)


def test_a_dry_run_runs_in_the_precision_that_was_asked_for(train, monkeypatch):
    seen = []
    nats = Music.nats

    def see(self, *given):
        seen.append(torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu"))
        return nats(self, *given)

    monkeypatch.setattr(Music, "nats", see)
    train("music", "dry_run=true", "trainer.precision=bf16")
    assert seen == [torch.bfloat16]


def test_the_bar_ends_on_the_last_epoch(train, monkeypatch):
    shown = []
    monkeypatch.setattr(Progress, "update", lambda self, step, epoch, values: shown.append((step, epoch)))
    train("music", "trainer.max_epochs=2", "trainer.max_steps=null")
    assert shown == [*((step, 0) for step in range(1, 7)), *((step, 1) for step in range(7, 13))]


def test_runs_without_a_name_are_named_after_what_was_typed_and_never_share_a_folder(corpora, outputs, capsys):
    small = ["trainer.max_steps=1", "trainer.batch_size=8", "model.hidden_size=6", "trainer.threads=1"]
    for _ in range(2):
        assert main(["train", "task=music", "model=gru", f"task.corpus={corpora['music']}", *small]) == 0
    name = "music-gru-corpus=tunes-batch_size=8-hidden_size=6"
    assert {path.name for path in outputs.iterdir()} == {name, f"{name}-2"}
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"{name}-2")


def test_a_name_with_slashes_is_what_run_takes(train, outputs):
    assert read_json(train("music", name="try/1") / "run.json")["name"] == "try/1"
    assert main(["evaluate", "run=try/1"]) == 0


def test_a_run_whose_name_looks_like_a_setting_is_told_how_to_go_on_in_words_a_shell_takes(train, monkeypatch, capsys):
    monkeypatch.setattr(Progress, "update", lambda self, *rest: signal.raise_signal(signal.SIGTERM))
    train("music", name="try ${x}/1", exit_code=143)
    monkeypatch.undo()
    assert capsys.readouterr().err.endswith("go on: rnnlab train resume='try ${x}/1'\n")


def test_a_name_that_is_taken_is_refused_before_the_corpus_is_read(finished, capsys):
    assert main(["train", "task=music", "task.corpus=nowhere.abc", "name=music"]) == 8
    assert "reading" not in capsys.readouterr().err


def test_labels_with_brackets_are_printed_as_they_are(train, tmp_path, capsys):
    rows = "".join(f"word{n % 7} good day {n},{'[/x]' if n % 2 else '[red]'}\n" for n in range(60))
    (tmp_path / "labels.csv").write_text("text,label\n" + rows)
    train("sentiment", f"task.corpus={tmp_path / 'labels.csv'}")
    assert "says [/x] ┃ says [red]" in capsys.readouterr().out


def test_many_labels_are_listed_with_how_many_were_recognised(train, tmp_path, capsys):
    rows = "".join(f"word{n % 7} day {n},class number {n % 12}\n" for n in range(300))
    (tmp_path / "labels.csv").write_text("text,label\n" + rows)
    train("sentiment", f"task.corpus={tmp_path / 'labels.csv'}")
    told = capsys.readouterr().out
    assert "recognised" in told
    assert "│ class number 11 │" in told
    assert max(len(line) for line in told.splitlines() if line[0] in "┏┃│└") <= 80


# --- stopped, resumed, locked -----------------------------------------------------------------------------------------


def test_ctrl_c_saves_and_resume_ends_where_the_uninterrupted_run_does(train, monkeypatch, capsys):
    whole = train("next_word", "trainer.max_steps=6", name="whole")
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", lambda self, step, *rest: step == 2 and signal.raise_signal(signal.SIGINT))
        run = train("next_word", "trainer.max_steps=6", exit_code=130)
    assert "stopped by SIGINT at step 2, state saved; go on: rnnlab train resume=run" in capsys.readouterr().err
    stopped = read_json(run / "result.json")
    assert (stopped["status"], stopped["exit_code"], stopped["steps"]) == ("stopped", 130, 2)
    assert main(["train", "resume=run"]) == 0
    assert read_json(run / "result.json")["metrics"] == read_json(whole / "result.json")["metrics"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_signal_while_the_corpus_is_read_ends_the_command_at_once(train, outputs, monkeypatch, capsys, number, code):
    monkeypatch.setattr(Music, "read_corpus", lambda self: signal.raise_signal(number))
    train("music", exit_code=code)
    assert capsys.readouterr().err.endswith(f"\nstopped by {number.name}\n")
    assert not outputs.exists()


def test_a_signal_while_the_test_split_is_scored_leaves_a_run_that_can_go_on(train, monkeypatch, capsys):
    whole = train("music", name="whole")
    with monkeypatch.context() as patch:
        patch.setattr(Scoring, "test", lambda self: signal.raise_signal(signal.SIGTERM))
        run = train("music", exit_code=143)
    assert "error: stopped by SIGTERM; go on: rnnlab train resume=run" in capsys.readouterr().err
    stopped = read_json(run / "result.json")
    assert (stopped["status"], stopped["exit_code"], stopped["steps"]) == ("stopped", 143, 4)
    assert main(["train", "resume=run"]) == 0
    assert read_json(run / "result.json")["metrics"] == read_json(whole / "result.json")["metrics"]


def test_sigusr1_saves_and_goes_on(train, monkeypatch):
    whole = train("music", name="whole")
    saved = []
    save = savepoints.save_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", lambda self, step, *rest: step == 2 and signal.raise_signal(signal.SIGUSR1))
        patch.setattr(
            savepoints, "save_checkpoint", lambda *given, **more: saved.append(given[1]) or save(*given, **more)
        )
        run = train("music")
    assert saved == [2, 4]
    assert "saved at step 2, as SIGUSR1 asked" in (run / "rnnlab.log").read_text()
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_a_run_that_died_before_its_first_checkpoint_is_resumed_from_its_beginning(train, monkeypatch):
    whole = train("sentiment", "model.dropout=0.4", name="whole")

    class Death(BaseException):
        pass

    def die(*given, **named):
        raise Death

    with monkeypatch.context() as patch, pytest.raises(Death):
        patch.setattr(Savepoints, "save", die)
        train("sentiment", "model.dropout=0.4")
    run = whole.parent / "run"
    assert not (run / "checkpoints").exists()
    assert main(["train", "resume=run"]) == 0
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert read_json(run / "result.json")["metrics"] == read_json(whole / "result.json")["metrics"]


def test_a_start_that_died_before_run_json_is_typed_again(train, outputs, capsys):
    (outputs / "run/.hydra").mkdir(parents=True)
    (outputs / "run/.hydra/config.yaml").write_text("")
    assert main(["train", "resume=run"]) == 4
    assert "was left before training began; start it again: rnnlab train ... name=run" in capsys.readouterr().err
    assert read_json(train("music") / "result.json")["status"] == "done"


def test_a_run_killed_before_it_wrote_any_result_begins_again(train, outputs):
    run = train("music", "trainer.max_steps=3")
    wanted = read_json(run / "result.json")["metrics"]
    shutil.rmtree(run / "checkpoints")
    (run / "result.json").unlink()
    assert main(["train", "resume=run"]) == 0
    assert read_json(run / "result.json")["metrics"] == wanted


def test_a_damaged_result_json_is_written_anew(train, capsys):
    run = train("music", "trainer.max_steps=3")
    wanted = read_json(run / "result.json")["metrics"]
    (run / "result.json").write_text("")
    assert main(["train", "resume=run"]) == 0
    assert "result.json is damaged: not JSON" in capsys.readouterr().err
    assert read_json(run / "result.json")["metrics"] == wanted


def test_a_signal_that_breaks_what_it_hits_stops_the_run_all_the_same(train, capsys, monkeypatch):
    def broken(*_: object) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            raise AttributeError("a lock that was still being made")

    monkeypatch.setattr("rnnlab.commands._fit.tell_name", broken)
    train("music", "trainer.max_steps=3", exit_code=130)
    assert capsys.readouterr().err.endswith("stopped by SIGINT\n")


def test_metrics_jsonl_has_every_number_of_tensorboard_but_the_clocks(finished):
    lines = [json.loads(line) for line in (finished / "music/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 4, 4]
    named = [{name.partition("/")[0] for name in line} - {"step", "epoch"} for line in lines]
    assert named == [{"train", "optim"}] * 4 + [{"valid"}, {"test"}]
    result = read_json(finished / "music/result.json")
    assert {**lines[4], **lines[5]} == {"step": 4, "epoch": 4 / 6, **result["metrics"]}


def test_a_finished_run_resumed_is_the_same_run(finished):
    before = read_json(finished / "music/result.json")
    assert main(["train", "resume=music"]) == 0
    after = read_json(finished / "music/result.json")
    clock = {"pid": 0, "seconds": 0, "checkpoint_seconds": 0}
    assert {**after, **clock} == {**before, **clock}


def test_a_finished_run_can_be_given_more_steps(finished, capsys):
    assert main(["train", "resume=music", "trainer.max_steps=5"]) == 0
    assert read_json(finished / "music/result.json")["steps"] == 5
    assert "resumed at step 4" in capsys.readouterr().err
    assert "trained 5 steps" in (finished / "music/rnnlab.log").read_text()


def test_a_resume_that_would_change_much_names_the_first_few_and_what_may_change(finished, capsys):
    changes = ["task=music", "model=gru", "optimizer.lr=1", "seed=1", "trainer.batch_size=3", "trainer.max_steps=9"]
    assert main(["train", "resume=music", *changes]) == 2
    assert capsys.readouterr().err == (
        "error: model, optimizer.lr, seed and 1 more cannot change: resume goes on with the settings in the run's "
        "run.json; leave all out but resume and "
        "trainer.{checkpoint_every_minutes,checkpoint_every_steps,cuda_graph,device,devices,eval_batch_size,figures,"
        "histograms,log_every_steps,max_epochs,max_minutes,max_skipped,max_steps,num_samples,patience,profile,sample_len,threads,tune_allocator,"
        "xray_every}\n"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_graphs_without_a_gpu_are_refused_before_there_is_a_run(corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *tiny("music", corpora, "trainer.cuda_graph=true", "name=none")]) == 2
    assert capsys.readouterr().err == (
        "error: trainer.cuda_graph=true needs a CUDA device, the run's is cpu; set it false\n"
    )
    assert not (tmp_path / "outputs").exists()


def test_a_run_is_resumed_from_another_folder_than_it_was_started_in(train, corpora, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/mine.abc").write_bytes(corpora["music"].read_bytes())
    monkeypatch.chdir(tmp_path / "here")
    train("music", "task.corpus=mine.abc")
    monkeypatch.chdir("/")
    assert main(["train", "resume=run", "trainer.max_steps=5"]) == 0


def statuses() -> dict[str, str]:
    return {run.name: run.status for run in list_runs()}


def test_a_run_is_its_process_s_alone_and_is_listed_as_running_then_killed(corpora, outputs, capsys):
    settings = ["task=music", f"task.corpus={corpora['music']}", "model.hidden_size=6", "trainer.batch_size=8"]
    endless = ["trainer.max_steps=100000", "trainer.max_epochs=null", "trainer.eval_every_steps=5", "name=run"]
    command = [sys.executable, "-m", "rnnlab", "train", *settings, "trainer.num_samples=0", "trainer.threads=1"]
    process = subprocess.Popen([*command, *endless], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (outputs / "run/checkpoints/last").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert statuses() == {"run": "running"}
        assert main(["train", "resume=run"]) == 8
        assert f"is in use by process {process.pid}" in capsys.readouterr().err
        assert main(["generate", "run=run", "length=3"]) == 0, "a run can be used while it trains"
    finally:
        process.kill()
        process.wait()
    assert statuses() == {"run": "killed"}
    steps = json.loads((outputs / "run/checkpoints/last/manifest.json").read_text())["step"]
    assert main(["train", "resume=run", f"trainer.max_steps={steps + 1}"]) == 0
    assert statuses() == {"run": "done"}


def test_a_measured_window_length_makes_the_run_that_asks_for_it_by_number(train, capsys):
    settings = ["trainer.max_steps=3", "task.delay=4", "model=gru"]
    measured = train("copy", *settings, "trainer.bptt_len=3", "trainer.auto_bptt_len=true", name="measured")
    facts = read_json(measured / "run.json")
    length = facts["config"]["trainer"]["bptt_len"]
    assert length == facts["measured_bptt"]["shortest_that_passes"]
    assert facts["measured_bptt"]["lengths"] == [4, 8, 16]
    assert facts["measured_bptt"]["full_steps"] == 24
    assert facts["config"]["trainer"]["auto_bptt_len"] is False
    asked = train("copy", *settings, f"trainer.bptt_len={length}", name="asked")
    weights = [(run / "checkpoints/last/model.safetensors").read_bytes() for run in (measured, asked)]
    assert weights[0] == weights[1]
    assert main(["train", "resume=measured", "trainer.max_steps=5"]) == 0
    assert main(["train", "resume=asked", "trainer.max_steps=5"]) == 0
    weights = [(run / "checkpoints/last/model.safetensors").read_bytes() for run in (measured, asked)]
    assert weights[0] == weights[1]


def test_a_run_whose_scores_are_no_numbers_has_failed_and_can_go_on(train, monkeypatch, capsys):
    nats = NextWord.nats
    with monkeypatch.context() as patch:
        patch.setattr(NextWord, "nats", lambda self, model, *given: nats(self, model, *given) * _or_nan(model))
        folder = train("next_word", exit_code=5)
    assert "error: no evaluation gave a finite valid/perplexity" in capsys.readouterr().err
    result = read_json(folder / "result.json")
    assert (result["status"], result["exit_code"], result["steps"]) == ("failed", 5, 4)
    assert result["metrics"]["test/perplexity"] is None
    assert main(["show", "run"]) == 0
    assert "DivergedError: no evaluation gave" in capsys.readouterr().out
    assert main(["train", "resume=run", "trainer.max_epochs=5", "trainer.max_steps=6"]) == 0
    result = read_json(folder / "result.json")
    assert (result["status"], result["best_step"]) == ("done", 6)
    assert math.isfinite(result["metrics"]["test/perplexity"])


def _or_nan(model):
    return 1.0 if model.training else math.nan
