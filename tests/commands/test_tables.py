"""What commands print of their scores."""

import pytest

from rnnlab.commands._tables import print_scores, print_table


def test_a_table_of_scores_says_which_way_each_improves(capsys: pytest.CaptureFixture[str]):
    metrics = {"valid/loss": 1.0, "test/loss": 1.25, "test/accuracy": 0.5, "tunes/longest_copy_max": 19.0}
    print_scores("run", {"metrics": metrics})
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [row for row in rows if row] == [
        ["loss", "lower", "1.0000", "1.2500", ""],
        ["accuracy", "higher", "", "0.5000", ""],
        ["longest_copy_max", "", "", "", "19.0000"],
    ]


def test_a_table_aligns_its_first_columns_left_and_takes_brackets_as_they_are(capsys: pytest.CaptureFixture[str]):
    print_table(("name", "way", "ms"), [("[red]a", "x", "1.5"), ("b", "long", "12.5")], left=1)
    assert capsys.readouterr().out.splitlines() == ["name    way   ms", "[red]a    x  1.5", "b      long 12.5"]
