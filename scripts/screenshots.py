"""Make docs/screenshots: a picture of every TensorBoard dashboard that has data, in a headless Chromium.

    python scripts/screenshots.py               trains a small run of each task first, in a temporary folder
    python scripts/screenshots.py RUN ...       shows these runs of outputs/ instead

Needs `chromium` (or $CHROMIUM) and the corpora of the extra `corpora`. Each picture waits for what it is to show; exits
with 1 and names the dashboards that stayed empty.
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

DOCS = Path(__file__).resolve().parents[1] / "docs" / "screenshots"
MAX_BYTES = 150_000
_SMALL = ("trainer.threads=1", "trainer.log_every_steps=5")


def _steps(steps: int, between: int) -> tuple[str, str]:
    """How long a run trains, and how often it is scored."""
    return f"trainer.max_steps={steps}", f"trainer.eval_every_steps={between}"


# So long that there is something to see; a tune has to be one to be heard.
RUNS = {
    "music-gru": (
        "task=music",
        "model=gru",
        "model.hidden_size=128",
        "model.embedding_size=32",
        "model.dropout=0",
        "trainer.batch_size=16",
        "optimizer.lr=0.005",
        *_steps(1500, 500),
    ),
    "sentiment-lstm": (
        "task=sentiment",
        "model=lstm",
        "model.hidden_size=48",
        "task.max_len=120",
        "optimizer.lr=0.005",
        *_steps(600, 100),
    ),
    "next_word-gru": (
        "task=next_word",
        "model=gru",
        "model.hidden_size=64",
        "task.max_vocab=3000",
        "trainer.batch_size=16",
        *_steps(600, 150),
    ),
}
# Dashboard -> what must be on the page, by CSS within one shadow root, before its picture is taken; width and height.
DASHBOARDS = {
    "scalars": ("vz-line-chart2", 1280, 900),
    "custom_scalars": ("vz-line-chart2", 1280, 900),
    "hparams": ("vaadin-grid-cell-content", 2000, 420),
    "text": ("tf-text-loader", 1280, 900),
    "audio": ("audio", 1280, 640),
    "images": ("img", 1280, 1500),
    "pr_curves": ("tf-pr-curve-card", 1280, 700),
    "histograms": ("tf-histogram-loader, histogram-card", 1280, 900),
    "projector": ("#scatter canvas, canvas", 1280, 800),
}
# What a dashboard is opened with: tags to show.
FILTERS = {"scalars": "&tagFilter=train|valid|grad_norm", "images": "&tagFilter=valid|gates"}
# TensorBoard's pages hide in shadow roots, and the projector in a frame.
_FIND = """
const inner = e => e.shadowRoot || (e.tagName === 'IFRAME' && e.contentDocument);
const deep = (css, root = document) => [...root.querySelectorAll(css),
  ...[...root.querySelectorAll('*')].filter(inner).flatMap(e => deep(css, inner(e)))];
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="runs of outputs/ to show; small ones are made if none is named"
    )
    parser.add_argument("--only", nargs="*", choices=DASHBOARDS, default=list(DASHBOARDS), help="these dashboards")
    parser.add_argument("--to", type=Path, default=DOCS, help="the folder of the pictures")
    parser.add_argument("--tunes", metavar="RUN", help="picture this music run's own page and that of a tune, too")
    parser.add_argument("--patience", type=int, default=120, help="seconds to wait for what a dashboard is to show")
    arguments = parser.parse_args()
    browser = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        print("no chromium here; install it, or name a Chrome in $CHROMIUM", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        runs = arguments.runs
        if not runs:
            runs = _train(Path(folder))
            arguments.tunes = runs[0]
        board = subprocess.Popen(
            [sys.executable, "-m", "rnnlab", "board", *runs, "--no-browser"], stdout=subprocess.PIPE, text=True
        )
        try:
            assert board.stdout is not None
            address = board.stdout.readline().split()[1]
            with _Chromium(browser, Path(folder) / "profile", arguments.patience) as page:
                empty = [name for name in arguments.only if not _photograph(page, address, name, arguments.to)]
                if arguments.tunes:
                    _photograph_pages(page, arguments.tunes, Path(folder), arguments.to)
        finally:
            board.terminate()
            board.wait()
    if empty:
        print(f"nothing to see in {arguments.patience} s: {', '.join(empty)}", file=sys.stderr)
    return 1 if empty else 0


def _train(outputs: Path) -> list[str]:
    """Make a small run of each task; return their names."""
    os.environ["RNNLAB_OUTPUTS"] = str(outputs / "outputs")
    for name, settings in RUNS.items():
        command = [sys.executable, "-m", "rnnlab", "train", *settings, *_SMALL, f"name={name}"]
        subprocess.run(command, check=True)
    return list(RUNS)


def _photograph(page: _Chromium, address: str, name: str, folder: Path) -> bool:
    """Keep a picture of one dashboard; say whether it had something to show."""
    css, width, height = DASHBOARDS[name]
    page.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    page.open(f"{address}#{name}{FILTERS.get(name, '')}")
    found = page.wait_for(f"{_FIND} deep({json.dumps(css)}).length")
    page.settle()
    folder.mkdir(parents=True, exist_ok=True)
    size = _save(page.picture(), folder / f"{name}.png")
    print(f"{name}: {found} elements, {size:,} bytes")
    return found > 0


def _photograph_pages(page: _Chromium, run: str, scratch: Path, folder: Path) -> None:
    """Let a run write a tune, and keep pictures of the page that shows and plays it, and of the run's own page."""
    tunes, report = scratch / "tunes", scratch / "report.html"
    for words in (
        ["generate", f"run={run}", "seed=1", "temperature=0.7", f"output={tunes}/"],
        ["report", run, f"--output={report}"],
    ):
        subprocess.run([sys.executable, "-m", "rnnlab", *words], check=True, stdout=subprocess.DEVNULL)
    for name, path, height in (("tunes", tunes / "tunes.html", 640), ("report", report, 1500)):
        page.send("Emulation.setDeviceMetricsOverride", width=1080, height=height, deviceScaleFactor=1, mobile=False)
        page.open(path.as_uri())
        page.wait_for("1; document.querySelectorAll('section').length")
        print(f"{name}: {_save(page.picture(), folder / f'{name}.png'):,} bytes")


def _save(png: bytes, path: Path) -> int:
    """Write a picture with as many colours as fit into the limit; return its bytes."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (256, 128, 64, 32):
        image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
        if path.stat().st_size < MAX_BYTES:
            break
    return path.stat().st_size


class _Chromium:
    """One page of a headless Chromium, spoken to in the DevTools protocol over a pair of pipes."""

    def __init__(self, program: str, profile: Path, patience: int) -> None:
        """Start it; `patience` in seconds is how long it waits for what is to be seen."""
        self._patience = patience
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        # The protocol stands on file descriptors 3 and 4. WebGL, which the projector draws with, is emulated.
        command = (
            f'exec "$0" --headless --no-sandbox --disable-gpu-sandbox --use-gl=angle --use-angle=swiftshader '
            f"--enable-unsafe-swiftshader --hide-scrollbars --mute-audio --user-data-dir={profile} "
            f"--remote-debugging-pipe about:blank 3<&{to_browser} 4>&{from_browser}"
        )
        self._process = subprocess.Popen(
            ["sh", "-c", command, program], pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        self._numbers = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> _Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._out)
        self._process.terminate()
        self._process.wait()
        os.close(self._in)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its answer."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                read = os.read(self._in, 1 << 20)
                if not read:
                    raise RuntimeError("Chromium ended")
                self._rest += read
            text, _, self._rest = self._rest.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def open(self, address: str) -> None:
        """Go to a page, from scratch: only the part after # differs between dashboards."""
        self.send("Page.navigate", url="about:blank")
        self.send("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        """Return the value of a script's last expression; None if it fails, as it may while a page loads."""
        wrapped = f"(() => {{ {_returning(script)} }})()"
        return self.send("Runtime.evaluate", expression=wrapped, returnByValue=True)["result"].get("value")

    def wait_for(self, script: str) -> int:
        """Wait until a script counts something; return how many, 0 if it never did."""
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if count := self.evaluate(script):
                return int(count)
            time.sleep(1)
        return 0

    def settle(self) -> None:
        """Wait until the picture stays the same for three seconds, half a minute at most."""
        before = b""
        for _ in range(10):
            now = self.picture()
            if now == before:
                return
            before = now
            time.sleep(3)

    def picture(self) -> bytes:
        """Return what is seen, as PNG."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])


def _returning(script: str) -> str:
    """Let a script's last expression be the function's value."""
    body, _, last = script.rpartition(";")
    return f"{body}; return {last.strip()};"  # a line end after "return" would end it


if __name__ == "__main__":
    raise SystemExit(main())
