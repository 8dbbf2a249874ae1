"""Every command that the README and docs/ show runs, in their order, on tiny data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from rnnlab.cli import main
from rnnlab.commands import train

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
BLOCKS = [found for page in PAGES.values() for found in _BLOCK.findall(page)]
# A page of docs/ repeats some of the README's.
COMMANDS = list(dict.fromkeys(line for language, block in BLOCKS if not language for line in block.splitlines()))


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


def test_the_commands_of_the_readme_and_of_docs_run(outputs, corpora, tmp_path, monkeypatch, capsys):
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


def test_the_examples_of_the_layers_run():
    examples = [block for language, block in BLOCKS if language == "python"]
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, "example", "exec"), {})


def test_a_page_names_every_exit_code():
    from rnnlab import errors

    codes = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.UserError)
    }
    page = PAGES[ROOT / "docs" / "reliability.md"]
    assert all(f"\n| {code} |" in page for code in codes)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_file_a_page_links_to_is_there(path):
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", PAGES[path]) if "://" not in link]
    assert not [link for link in links if not (path.parent / link).exists()]


def test_the_readme_leads_to_every_page_of_docs():
    assert all(f"](docs/{path.name})" in PAGES[ROOT / "README.md"] for path in PAGES if path.parent.name == "docs")
