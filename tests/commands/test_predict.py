"""`rnnlab predict`: tables, or one JSON object a text, whatever stands in the text."""

from __future__ import annotations

import io
import json
import sys

import pytest

from rnnlab.cli import main


def predicted(capsys: pytest.CaptureFixture[str], *argv: str) -> list[dict]:
    """Predict and return the objects that are printed, one a line."""
    capsys.readouterr()
    assert main(["predict", *argv, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.split("\n") if line]


def standard_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_a_text_gets_its_class_and_probabilities_that_sum_to_1(finished, capsys):
    (found,) = predicted(capsys, "run=sentiment", "text=Good, good cat! Zebra.")
    assert set(found) == {"text", "label", "probabilities", "tokens", "unknown_tokens"}
    assert found["text"] == "Good, good cat! Zebra."
    assert list(found["probabilities"]) == ["neg", "pos"]
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-12)  # computed in float64
    assert found["label"] == max(found["probabilities"], key=found["probabilities"].__getitem__)
    assert found["tokens"] == 7
    assert found["unknown_tokens"] > 0


@pytest.mark.parametrize(
    "text", ["a, b: \"c\" 'd' [1,2 -- x=y", "${oc.env:HOME} ${x} $1", "null", "a\nb ünïcode 🎵 \u2028 x"]
)
def test_a_text_is_read_as_it_stands(text, finished, capsys):
    (found,) = predicted(capsys, "run=sentiment", f"text={text}")
    assert found["text"] == text


def test_a_file_has_a_text_a_line_and_blank_lines_are_left_out(finished, capsys, tmp_path):
    (tmp_path / "texts.txt").write_text("good cat\n\n   \nawful, dull bird\nfine\n")
    found = predicted(capsys, "run=sentiment", f"file={tmp_path / 'texts.txt'}")
    assert [prediction["text"] for prediction in found] == ["good cat", "awful, dull bird", "fine"]
    # what stands beside a text changes nothing, not even the last bit
    assert found[1:2] == predicted(capsys, "run=sentiment", "text=awful, dull bird")


@pytest.mark.parametrize("word", ["-", "file=-"])
def test_a_dash_reads_standard_input(word, finished, capsys, monkeypatch):
    standard_input(monkeypatch, "good cat\r\nschön\r\n".encode())
    assert [entry["text"] for entry in predicted(capsys, "run=sentiment", word)] == ["good cat", "schön"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "standard input is empty"),
        (b"caf\xe9\n", "standard input, line 1, byte 4"),
        (None, "is closed; give file"),
    ],
)
def test_standard_input_that_cannot_be_read_is_told(content, message, finished, capsys, monkeypatch):
    if content is None:
        monkeypatch.setattr(sys, "stdin", None)
    else:
        standard_input(monkeypatch, content)
    assert main(["predict", "run=sentiment", "-"]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("task", "text"), [("next_word", "the old cat"), ("music", "X:1")])
def test_a_language_model_names_the_likeliest_next_tokens(task, text, finished, capsys):
    (found,) = predicted(capsys, f"run={task}", f"text={text}", "top=3")
    shares = [entry["probability"] for entry in found["next"]]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    (everything,) = predicted(capsys, f"run={task}", f"text={text}", "top=1000")
    assert everything["next"][:3] == found["next"]
    assert sum(entry["probability"] for entry in everything["next"]) == pytest.approx(1, abs=1e-12)


def test_a_person_gets_the_classes_of_one_text_and_a_line_for_each_of_many(finished, capsys, tmp_path):
    (found,) = predicted(capsys, "run=sentiment", "text=Good, good cat! Zebra.")
    assert main(["predict", "run=sentiment", "text=Good, good cat! Zebra."]) == 0
    above, *rows = capsys.readouterr().out.splitlines()
    assert above == f"Good, good cat! Zebra.  (7 tokens, {found['unknown_tokens']} of them unknown)"
    likeliest, other = sorted(found["probabilities"].items(), key=lambda pair: -pair[1])
    assert [row.split() for row in rows] == [
        ["class", "probability"],
        *([name, f"{share:.4f}"] for name, share in (likeliest, other)),
    ]
    (tmp_path / "texts.txt").write_text("good [red]cat\n" + "dull \x1b[2J" * 80 + "\n")
    both = predicted(capsys, "run=sentiment", f"file={tmp_path / 'texts.txt'}")
    assert main(["predict", "run=sentiment", f"file={tmp_path / 'texts.txt'}"]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == ["class", "text", "probability", "unknown"]
    label, *text, share, unknown = first.split()
    assert (label, text, unknown) == (both[0]["label"], ["good", "[red]cat"], str(both[0]["unknown_tokens"]))
    assert share == f"{both[0]['probabilities'][label]:.4f}"
    assert "\x1b" not in second
    assert len(second) == 200
    assert second.split()[-3].endswith("...")


def test_a_person_sees_next_tokens_that_are_spaces_and_line_ends(finished, capsys):
    (found,) = predicted(capsys, "run=music", "text=X:1\nT:", "top=1000")
    assert main(["predict", "run=music", "text=X:1\nT:", "top=1000"]) == 0
    above, heading, *rows = capsys.readouterr().out.splitlines()
    assert (above, heading.split()) == ("X:1\\nT:  (6 tokens)", ["next", "probability"])
    assert len(rows) == len(found["next"])
    assert {"' '", "'\\n'"} < {row.rsplit(maxsplit=1)[0] for row in rows}


def test_a_terminal_without_unicode_gets_json_all_the_same(finished, monkeypatch):
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding="ascii"))
    assert main(["predict", "run=sentiment", "text=schön 🎵", "--json"]) == 0
    assert json.loads(bytes_out.getvalue().decode("ascii"))["text"] == "schön 🎵"
    monkeypatch.undo()


def test_bytes_of_the_command_line_that_are_no_text_do_not_crash(finished, monkeypatch):
    bytes_out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(bytes_out, encoding="utf-8"))
    assert main(["predict", "run=sentiment", "text=caf\udce9", "--json"]) == 0
    assert json.loads(bytes_out.getvalue())["text"] == "caf\udce9"
    monkeypatch.undo()


def test_top_is_refused_where_every_class_is_given(finished, capsys):
    assert main(["predict", "run=sentiment", "text=good", "top=3"]) == 2
    assert "top=3 is for language models" in capsys.readouterr().err


def test_a_text_of_nothing_is_shown_and_has_no_token(finished, capsys):
    assert main(["predict", "run=next_word", "text= "]) == 0
    assert capsys.readouterr().out.startswith("' '  (0 tokens)\n")


def test_a_table_is_not_read_as_one_text_a_line(finished, corpora, capsys):
    assert main(["predict", "run=sentiment", f"file={corpora['sentiment']}"]) == 3
    assert "reviews.csv is a table, wanted one text a line" in capsys.readouterr().err
