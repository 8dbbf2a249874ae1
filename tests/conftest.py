"""What tests share: tiny corpora, and runs made in this process from a command line."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch

from rnnlab.cli import main
from rnnlab.json_files import write_json
from rnnlab.runs import create_run

Train = Callable[..., Path]

# Speed is not asserted: on a busy machine any example may take long. The same examples each time, so that what fails
# after a change fails by it; `--hypothesis-profile=search` draws new ones.
hypothesis.settings.register_profile("rnnlab", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("rnnlab")


def tiny(task: str, corpora: dict[str, Path], *overrides: str) -> list[str]:
    """Settings of a run of a second; `overrides` go before them."""
    given = {override.partition("=")[0] for override in overrides}
    base = {
        **(
            {"task.corpus": corpora[task]}
            if task in corpora
            else {"task.train_sequences": 32, "task.score_sequences": 9}
        ),
        "model.hidden_size": 6,
        "model.embedding_size": 5,
        "trainer.batch_size": 8,
        "trainer.max_epochs": 1,
        "trainer.max_steps": 4,
        "trainer.log_every_steps": 1,
        "trainer.threads": 1,
        "trainer.sample_len": 12,
        "trainer.histograms": "false",
        "trainer.figures": "false",
    }
    if task == "next_word":
        base["trainer.bptt_len"] = 8
    return [f"task={task}", *(f"{key}={value}" for key, value in base.items() if key not in given), *overrides]


def pytest_configure():
    """Signals do what they do in a terminal, also where nohup or a shell's background had them ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Corpora that tests encode are kept with the tests, not with the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """Tests run side by side: a thread each, whatever the commands of the test before have set.

    A test that forks would wait for ever for the threads of its parent.
    """
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_handlers_left():
    """A command logs to the stderr of its test; the next test has another, and finds the loggers as they were."""
    yield
    logging.getLogger("rnnlab").propagate = True
    for log in (logging.getLogger("rnnlab"), logging.getLogger()):
        for handler in [*log.handlers]:
            if log.name == "rnnlab" or type(handler) is logging.StreamHandler:  # the root has pytest's own, too
                log.removeHandler(handler)
                handler.close()


@pytest.fixture
def interpret() -> Callable[[Path], None]:
    """Runs a folder's tests of kernels in triton's interpreter; none may fail or be left out."""

    def run(folder: Path) -> None:
        command = [sys.executable, "-m", "pytest", "-W", "error", "-q", "-p", "no:cacheprovider", str(folder)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        assert " passed" in done.stdout
        assert "skipped" not in done.stdout

    return run


@pytest.fixture
def outputs(tmp_path, monkeypatch) -> Path:
    """An outputs folder of the test's own."""
    monkeypatch.setenv("RNNLAB_OUTPUTS", str(tmp_path / "outputs"))
    return tmp_path / "outputs"


@pytest.fixture
def make_run(outputs) -> Callable[..., Path]:
    """Makes the folder of a run that nobody trained, with what result.json and run.json are to hold."""

    def make(name: str, result: dict[str, Any] | None = None, **run: object) -> Path:
        folder = create_run(name, exact=True)
        write_json(folder / "run.json", {"format": 1, "name": name, "created": "2024-05-06T07:08:09+00:00", **run})
        if result is not None:
            write_json(folder / "result.json", result)
        return folder

    return make


@pytest.fixture(scope="session")
def corpora(tmp_path_factory) -> dict[str, Path]:
    """One tiny corpus of the user's own for each task."""
    folder = tmp_path_factory.mktemp("corpora")
    draw = random.Random(0)
    words = "the cat sat on a mat and saw one red bird fly over two old trees".split()
    (folder / "words.txt").write_text(
        "a rare rabbit\n" + "".join(" ".join(draw.choices(words, k=draw.randint(3, 9))) + "\n" for _ in range(300))
    )
    good, bad = "good great fine lovely".split(), "bad awful poor dull".split()
    rows = []
    for number in range(240):
        label, marks = ("pos", good) if number % 2 else ("neg", bad)
        text = draw.choices(words, k=draw.randint(2, 12))
        text.insert(draw.randrange(len(text)), draw.choice(marks))
        rows.append(f"{' '.join(text)} {number},{label}\n")
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows))
    tunes = []
    for number in range(60):
        bars = [" ".join(draw.choices(["A2", "B2", "c2", "d2"], k=4)) for _ in range(draw.randint(2, 6))]
        tunes.append(f"X:{number}\nT:Tune {number}\nM:4/4\nL:1/8\nK:D\n{' | '.join(bars)} |]\n")
    (folder / "tunes.abc").write_text("\n".join(tunes))
    return {"next_word": folder / "words.txt", "sentiment": folder / "reviews.csv", "music": folder / "tunes.abc"}


@pytest.fixture
def train(outputs, corpora) -> Train:
    """Train a tiny run in this process: `train("music", "trainer.max_steps=3")` gives its folder."""

    def run(task: str, *overrides: str, name: str = "run", exit_code: int = 0) -> Path:
        assert main(["train", *tiny(task, corpora, *overrides), f"name={name}"]) == exit_code
        return outputs / name

    return run


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory, corpora) -> Path:
    """An outputs folder with a finished run of each task, named after it. Tests take a copy: `finished`."""
    folder = tmp_path_factory.mktemp("finished") / "outputs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RNNLAB_OUTPUTS", str(folder))
        for task in corpora:
            assert main(["train", *tiny(task, corpora, "trainer.checkpoint_every_steps=2"), f"name={task}"]) == 0
    return folder


@pytest.fixture
def finished(finished_once, outputs) -> Path:
    """The test's own outputs folder with a finished run of each task, named after it: music, next_word, sentiment."""
    shutil.copytree(finished_once, outputs, symlinks=True)
    return outputs
