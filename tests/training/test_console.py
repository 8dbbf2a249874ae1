import errno
import logging
import sys
import time

import pytest

from rnnlab.training.console import Progress, log, log_to


@pytest.fixture
def clean_log():
    yield
    for handler in log.handlers[:]:
        log.removeHandler(handler)
        handler.close()
    log.propagate = True


@pytest.mark.usefixtures("clean_log")
def test_lines_go_to_the_console_and_with_times_to_the_runs_file(tmp_path, capsys):
    log_to(tmp_path)
    log.info("step %d", 3)
    assert capsys.readouterr().err == "step 3\n"
    line = (tmp_path / "rnnlab.log").read_text()
    assert line.endswith(" INFO step 3\n")
    assert line[:2] == "20"


@pytest.mark.usefixtures("clean_log")
def test_logging_anew_leaves_the_file_before(tmp_path, capsys):
    log_to(tmp_path)
    log_to(None)
    log.info("only here")
    assert capsys.readouterr().err == "only here\n"
    assert (tmp_path / "rnnlab.log").read_text() == ""


@pytest.mark.usefixtures("clean_log")
@pytest.mark.parametrize("error", [BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError(errno.EIO, "I/O error")])
def test_a_terminal_that_is_gone_does_not_end_a_run(tmp_path, monkeypatch, error):
    class Gone:
        def write(self, text):
            raise error

        flush = isatty = lambda self: False

    log_to(tmp_path)
    with monkeypatch.context() as context:
        context.setattr(sys, "stderr", Gone())
        log.info("still here")
    assert "still here" in (tmp_path / "rnnlab.log").read_text()


@pytest.mark.usefixtures("clean_log")
def test_a_terminal_breaks_lines_between_words_and_the_file_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    log_to(tmp_path)
    path = "/" + "x" * 50
    with monkeypatch.context() as context:
        context.setattr(sys.stderr, "isatty", lambda: True)
        log.info("step 12  epoch 1.00  valid: loss 0.3893, accuracy 0.8\nsaved in %s", path)
    shown = "step 12  epoch 1.00  valid: loss 0.3893,\n  accuracy 0.8\nsaved in\n  " + path
    assert capsys.readouterr().err == shown + "\n"
    assert "valid: loss 0.3893, accuracy 0.8\n" in (tmp_path / "rnnlab.log").read_text()


def test_off_a_terminal_a_line_comes_now_and_then(monkeypatch, caplog, capsys):
    monkeypatch.setattr(log, "propagate", True)
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = Progress(100, 0)
    with caplog.at_level(logging.INFO, "rnnlab"):
        for step in range(1, 81):
            now[0] = float(step)
            progress.update(step, 1, {"loss": 0.5})
    progress.close()
    progress.close()  # closing twice is fine
    assert [record.getMessage() for record in caplog.records] == [
        f"epoch 2  step {step} of 100  loss 0.5" for step in (5, 35, 65)
    ]
    assert capsys.readouterr().err == ""
