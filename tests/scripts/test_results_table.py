"""Runs of one recipe are one row, whatever their seeds; other settings are another row."""

import runpy
from pathlib import Path

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts" / "results_table.py")


def test_seeds_of_one_recipe_share_a_row(train, capsys):
    for seed in range(2):
        shown = f"trainer.log_every_steps={1 + seed}"  # changes nothing that is learned
        train("music", f"seed={seed}", shown, "trainer.max_steps=1", name=f"tunes-{seed}")
    train("music", "model.hidden_size=7", "trainer.max_steps=1", name="wider")
    capsys.readouterr()
    main = runpy.run_path(SCRIPT)["main"]
    assert main([]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["tunes-0, tunes-1", "wider"]
    assert [row.split("|")[3].strip() for row in rows] == ["2", "1"]
    assert "test/bits_per_char" in rows[0]
    assert " +- " in rows[0]
    assert main(["wider"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
