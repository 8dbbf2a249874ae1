"""The parts of scripts/screenshots.py that need no browser."""

import io
import runpy
from pathlib import Path

import numpy as np
import pytest

SCRIPT = str(Path(__file__).resolve().parents[2] / "scripts" / "screenshots.py")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(SCRIPT)


def test_a_picture_is_kept_with_as_many_colours_as_fit(script, tmp_path):
    image = pytest.importorskip("PIL.Image")
    plain, noise = np.zeros((400, 400, 3), np.uint8), np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    for name, pixels in (("plain", plain), ("noise", noise)):
        png = io.BytesIO()
        image.fromarray(pixels).save(png, "PNG")
        path = tmp_path / f"{name}.png"
        assert script["_save"](png.getvalue(), path) == path.stat().st_size < script["MAX_BYTES"]
        with image.open(path) as kept:
            assert kept.size == (400, 400)


def test_every_dashboard_that_the_docs_show_is_pictured(script):
    page = (Path(SCRIPT).parents[1] / "docs" / "tensorboard.md").read_text(encoding="utf-8")
    for name in script["DASHBOARDS"]:
        assert f"(screenshots/{name}.png)" in page


def test_without_a_browser_it_says_what_to_do(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["screenshots.py"])
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert script["main"]() == 2
    assert "no chromium here" in capsys.readouterr().err
