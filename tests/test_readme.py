"""Every command the README shows runs, in the README's order, on tiny data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from rnnlab.cli import main
from rnnlab.commands import train

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
COMMANDS = [line for language, block in BLOCKS if not language for line in block.splitlines()]


def small(words: list[str], corpora: dict[str, Path]) -> list[str]:
    """The same command at smoke size; an option the README gives wins."""
    if words[0] == "xray":
        return [*words, "steps=12", "rows=2", "places=8"]
    if words[0] == "lesson":
        return [*words, "--quick"]
    if words[0] != "train" or any(word.startswith("resume=") for word in words):
        return words
    task = next((word.removeprefix("task=") for word in words if word.startswith("task=")), "sentiment")
    given = {word.partition("=")[0] for word in words}
    added = ["trainer.max_steps=6", "trainer.threads=1"]
    if "--config-dir" not in words:  # which names its own corpus
        added += ["experiment=smoke"]
        added += [f"task.corpus={corpora[task]}"] if task in corpora else []
    return [*words, *(word for word in added if word.partition("=")[0] not in given)]


def test_the_commands_of_the_readme_run(outputs, corpora, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train, "UNNAMED", train.UNNAMED | {"experiment", "task.corpus"})  # what `small` adds
    (tmp_path / "novels").mkdir()
    shutil.copy(corpora["next_word"], tmp_path / "novels" / "one.txt")
    shutil.copy(corpora["music"], tmp_path / "tunes.abc")
    mails = corpora["sentiment"].read_text().replace("text,label", "body,kind")
    (tmp_path / "mails.csv").write_text(mails)
    (tmp_path / "reviews.txt").write_text("a good cat\nan awful hat\n")
    ran = 0
    for line in COMMANDS:
        for command in line.split(" && "):
            words = shlex.split(command, comments=True)
            if words[:1] != ["rnnlab"] or words[1] == "board":  # board: tests/commands/test_board.py
                continue
            code = main(small(words[1:], corpora))
            assert code == 0, f"{command}: exit code {code}\n{capsys.readouterr().err}"
            ran += 1
    assert ran >= 24
    assert "0." in capsys.readouterr().out


def test_the_example_of_the_layers_runs():
    (example,) = [block for language, block in BLOCKS if language == "python"]
    exec(compile(example, "README.md", "exec"), {})


def test_the_readme_names_every_exit_code():
    from rnnlab import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.UserError)
    }
    assert all(f"\n| {code} |" in README for code in codes)


def test_every_file_the_readme_links_to_is_there():
    root = Path(__file__).resolve().parents[1]
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert not [link for link in links if not (root / link).exists()]
