import re
import resource
import time

import torch
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from rnnlab.training.console import log
from rnnlab.training.events import EVENTS, EventLog


def events(folder):
    """(tag, step) of every value in a folder, file after file."""
    found = []
    for path in sorted(folder.glob(EVENTS)):
        for event in EventFileLoader(str(path)).Load():
            found += [(value.tag, event.step) for value in event.summary.value]
    return found


def write(folder, steps, offsets=None):
    log = EventLog(folder, offsets)
    for step in steps:
        log.scalars({"train/loss": float(step)}, step)
    kept = log.offsets()
    log.close()
    return kept


def test_numbers_texts_histograms_and_images_arrive_with_their_step(tmp_path):
    log = EventLog(tmp_path)
    log.scalars({"a": 1.5, "b": 2.5}, 3)
    log.text("t", "one\ntwo", 4)
    log.histogram("h", torch.arange(5, dtype=torch.bfloat16), 5)
    log.image("i", torch.zeros(3, 2, 2), 6)
    log.close()
    assert events(tmp_path) == [("a", 3), ("b", 3), ("t/text_summary", 4), ("h", 5), ("i", 6)]


def test_text_is_shown_as_it_stands(tmp_path):
    """TensorBoard reads Markdown: bars of a tune are no table and its hashes no headings in a code block."""
    log = EventLog(tmp_path)
    log.text("t", "| A2 |\n# B", 0)
    log.close()
    (path,) = tmp_path.glob(EVENTS)
    (value,) = (value for event in EventFileLoader(str(path)).Load() for value in event.summary.value)
    assert value.tensor.string_val[0].decode() == "    | A2 |\n    # B"


def test_settings_are_written_once_into_the_run_itself(tmp_path):
    log = EventLog(tmp_path)
    log.settings({"optimizer.lr": 0.1, "model.cell": "lstm"}, ["valid/loss"])
    log.settings_done()
    log.close()
    assert [path.is_dir() for path in tmp_path.iterdir()] == [False], "no run of its own below this one"
    tags = {tag for tag, _ in events(tmp_path)}
    assert {"_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"} == tags


def test_a_resumed_log_goes_on_where_the_checkpoint_was_made(tmp_path):
    first = EventLog(tmp_path)
    first.scalars({"train/loss": 1.0}, 1)
    offsets = first.offsets()
    first.scalars({"train/loss": 2.0}, 2)
    first.scalars({"train/loss": 3.0}, 3)
    first.close()
    assert len(offsets) == 1
    write(tmp_path, [2, 3], offsets)
    assert events(tmp_path) == [("train/loss", step) for step in (1, 2, 3)]
    assert len(list(tmp_path.glob(EVENTS))) == 2


def test_a_record_that_a_kill_cut_in_half_is_gone_after_resuming(tmp_path):
    offsets = write(tmp_path, [1, 2])
    (path,) = tmp_path.glob(EVENTS)
    with path.open("ab") as file:
        file.write(b"\x30\0\0\0\0\0\0\0half of a rec")
    write(tmp_path, [3], offsets)
    assert path.stat().st_size == offsets[path.name]
    assert events(tmp_path) == [("train/loss", step) for step in (1, 2, 3)]


def test_event_files_that_a_checkpoint_does_not_know_are_removed_and_nothing_else_is(tmp_path):
    offsets = write(tmp_path, [1])
    (tmp_path / "events.out.tfevents.9999999999.other").write_bytes(b"later")
    (tmp_path / "events.notes").write_text("mine")
    (tmp_path / "run.json").write_text("{}")
    write(tmp_path, [2], offsets)
    names = {path.name for path in tmp_path.iterdir()}
    assert "events.out.tfevents.9999999999.other" not in names
    assert {"events.notes", "run.json"} < names
    assert events(tmp_path) == [("train/loss", 1), ("train/loss", 2)]


def test_a_new_log_touches_no_file(tmp_path):
    write(tmp_path, [1])
    write(tmp_path, [2])
    assert events(tmp_path) == [("train/loss", 1), ("train/loss", 2)]


def test_files_sort_by_age_even_within_a_second_or_when_the_clock_goes_back(tmp_path, monkeypatch):
    for step in range(12):
        monkeypatch.setattr(time, "time", lambda: 1e9 - 3600 * (step > 6))  # noqa: B023
        write(tmp_path, [step])
    assert [step for _, step in events(tmp_path)] == list(range(12))
    assert sorted(tmp_path.glob(EVENTS))[0].name.startswith("events.out.tfevents.1000000000.")


def test_what_is_written_can_be_watched_soon(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    log = EventLog(tmp_path)
    for step, seen in ((1, 1), (2, 1), (3, 3)):
        log.scalars({"a": 0.0}, step)
        assert len(events(tmp_path)) == seen
        now[0] += 6
    log.close()


def test_offsets_are_bytes_on_the_disk(tmp_path):
    log = EventLog(tmp_path)
    log.scalars({"a": 1.0}, 1)
    before = log.offsets()
    assert before == {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    log.scalars({"a": 1.0}, 2)
    assert sum(log.offsets().values()) > sum(before.values())
    log.close()


def test_a_full_disk_is_told_in_the_users_words_and_hides_no_other_error(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(log, "propagate", True)
    events = EventLog(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        for step in range(2000):
            events.scalars({"a": 1.0}, step)
        events.offsets()  # as a checkpoint asks
        events.close()  # raises nothing: an error may be on its way to the user
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert re.search(r"cannot write TensorBoard events in .*: File too large; training goes on", caplog.text)
    assert "the last TensorBoard events" in caplog.text
