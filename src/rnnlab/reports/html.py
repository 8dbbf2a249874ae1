"""A page that needs nothing but itself: no script, no font, no picture from elsewhere. Everything put in is escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

# Nothing is fetched, and no script runs but one that a page is given, even if something slipped through the escaping.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6b7c; --line: #dfe5ec; --paper: #fff; --wash: #f5f7fa;
  --a: #1f6fb5; --b: #d1572b; --good: #1f7a4a; --bad: #b3312c; --band: 31 111 181; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ee; --soft: #97a4b3; --line: #323b47; --paper: #14181e;
  --wash: #1b2129; --a: #6db1ec; --b: #f0916a; --good: #63c592; --bad: #ee8078; --band: 109 177 236; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.08rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: .9rem; font-weight: 600; margin: 0 0 .2rem; }
p { margin: .4rem 0; max-width: 46rem; }
.soft, figcaption, th { color: var(--soft); }
.status { font-size: .8rem; font-weight: 600; padding: .1rem .55rem; border-radius: 1rem;
  border: 1px solid; white-space: nowrap; vertical-align: .25rem; margin-left: .4rem; }
.done, .better { color: var(--good); } .failed, .killed, .damaged, .diverged, .worse { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; margin: 1.3rem 0 0; }
.card { background: var(--wash); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .82rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.4rem 1.6rem; }
.charts > figure:only-child { max-width: 38rem; }
.charts + .charts { margin-top: 1.6rem; }
.small { grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr)); }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: .82rem; }
figure.whole { margin-bottom: 1.6rem; } figure.whole svg { min-width: 34rem; }
svg { display: block; width: 100%; height: auto; font: 11px system-ui, sans-serif; }
svg.row { width: 13.75rem; height: 1.1rem; }
svg text { fill: var(--soft); }
.key { display: inline-block; width: 1.1em; height: .2em; vertical-align: .25em; margin-right: .3em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th { font-weight: 500; text-align: left; white-space: nowrap; }
td:first-child { white-space: nowrap; }
td, th { padding: .28rem .9rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; white-space: nowrap; }
td.k { font-family: ui-monospace, Menlo, Consolas, monospace; font-size: .84rem; }
.confusion td, .confusion th { padding: .4rem .9rem; text-align: center; border: 1px solid var(--line); }
.best td { font-weight: 600; }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem;
  margin: .5rem 0;
  font: .84rem/1.5 ui-monospace, Menlo, Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
pre.sample { max-height: 32rem; overflow: auto; }
.said { border-left: .25rem solid; padding: .1rem 0 .1rem .8rem; font-weight: 600; }
.said.done { color: var(--ink); border-color: var(--good); }
a { color: var(--a); } nav li { margin: .2rem 0; }
summary { cursor: pointer; color: var(--soft); margin: .8rem 0 .4rem; }
footer { margin-top: 3rem; color: var(--soft); font-size: .82rem; }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } pre.sample { max-height: none; }
  h2 { break-after: avoid; } section { break-before: page; } tr { break-inside: avoid; }
  :root { --paper: #fff; --ink: #000; } }
"""


class Markup(str):
    """HTML that goes into a page as it is."""

    __slots__ = ()


def page(title: str, body: Iterable[str], footer: str, *, style: str = "", script: str = "") -> str:
    """Return a whole page.

    Args:
        title: Plain text.
        body: HTML, made by the functions here.
        footer: Plain text.
        style: CSS that the body needs beside ours.
        script: JavaScript that the body needs; the page's policy lets this one run, known by its hash, and no other.
    """
    policy = _POLICY
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}{style}</style></head>",
            "<body>",
            *body,
            f"<footer>{escape(footer)}</footer>",
            *([f"<script>{script}</script>"] if script else []),
            "</body></html>",
            "",
        ]
    )


def head(title: str, status: str, line: str) -> str:
    """Return the top of a page: a name, how it stands, and a sentence."""
    shown = f' <span class="status {escape(status)}">{escape(status)}</span>' if status else ""
    return f"<header><h1>{escape(title)}{shown}</h1><p class=soft>{escape(line)}</p></header>"


def status_of(status: str) -> Markup:
    """Return a status in its colour."""
    return Markup(f'<span class="{escape(status)}">{escape(status)}</span>')


def heading(text: str, anchor: str = "") -> str:
    """Return a section's heading, with a name that `contents` can link to."""
    return f'<h2 id="{escape(anchor, quote=True)}">{escape(text)}</h2>' if anchor else f"<h2>{escape(text)}</h2>"


def contents(entries: Iterable[tuple[str, str, str]]) -> str:
    """Return a table of contents: (anchor of a heading, its text, a line on it)."""
    lines = (
        f'<li><a href="#{escape(anchor, quote=True)}">{escape(text)}</a> <span class=soft>{escape(line)}</span></li>'
        for anchor, text, line in entries
    )
    return f"<nav><ol>{''.join(lines)}</ol></nav>"


def section(parts: Iterable[str]) -> str:
    """Return what belongs together; printed, it starts a page."""
    return f"<section>{''.join(parts)}</section>"


def said(text: str, kind: str) -> str:
    """Return a sentence that stands out, in the colour of a status: done, failed."""
    return f'<p class="said {escape(kind)}">{escape(text)}</p>'


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{escape(text)}</p>"


def cards(pairs: Iterable[tuple[str, str]]) -> str:
    """Return numbers to be seen first: (what, value)."""
    shown = (f"<div class=card><b>{escape(value)}</b><span>{escape(what)}</span></div>" for what, value in pairs)
    return f"<div class=cards>{''.join(shown)}</div>"


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, left: int, best: int | None = None, code: bool = False
) -> str:
    """Return rows under headings.

    Args:
        headings: Plain text.
        rows: Plain text; a cell that is HTML made here is a `Markup`.
        left: Columns that are aligned left; the rest are numbers.
        best: A row to be marked.
        code: Whether the first column holds what can be typed.
    """

    def cells(words: Sequence[str], element: str) -> str:
        kinds = [
            " class=n" if place >= left else " class=k" if code and not place else "" for place in range(len(words))
        ]
        shown = (word if isinstance(word, Markup) else escape(word) for word in words)
        return "".join(f"<{element}{kind}>{word}</{element}>" for kind, word in zip(kinds, shown, strict=True))

    lines = [f"<tr{' class=best' if at == best else ''}>{cells(row, 'td')}</tr>" for at, row in enumerate(rows)]
    return f"<div class=wide><table><tr>{cells(headings, 'th')}</tr>{''.join(lines)}</table></div>"


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Return a confusion matrix, each cell as dark as its share of the true class."""
    top = "".join(f"<th>says {escape(label)}</th>" for label in labels)
    lines = []
    for label, row in zip(labels, counts, strict=True):
        total = sum(row) or 1
        cells = (
            f'<td style="background: rgb(var(--band) / {count / total * 0.6:.2f})" title="{count / total:.1%} of '
            f'{escape(label, quote=True)}">{count:,}</td>'
            for count in row
        )
        lines.append(f"<tr><th>it is {escape(label)}</th>{''.join(cells)}</tr>")
    return f"<div class=wide><table class=confusion><tr><th></th>{top}</tr>{''.join(lines)}</table></div>"


def code(text: str, *, is_sample: bool = False) -> str:
    """Return a text as it stands: a command, a sample."""
    return f"<pre{' class=sample' if is_sample else ''}>{escape(text)}</pre>"


def figure(
    picture: str, title: str, series: Sequence[tuple[str, str]] = (), note: str = "", *, is_whole: bool = False
) -> str:
    """Return a picture with its title and what its colours are.

    Args:
        picture: SVG.
        title: Plain text.
        series: (name, CSS colour) pairs.
        note: Plain text.
        is_whole: Whether it takes the page's width, and is moved sideways on a narrow one.
    """
    keys = "".join(
        f' <span class=key style="background: {color}"></span>{escape(name)}&ensp;' for name, color in series
    )
    caption = f"{keys}<br>{escape(note)}" if keys and note else f"{keys}{escape(note)}"
    if is_whole:
        picture = f"<div class=wide>{picture}</div>"
    kind = " class=whole" if is_whole else ""
    return f"<figure{kind}><h3>{escape(title)}</h3><figcaption>{caption}</figcaption>{picture}</figure>"


def figures(items: Iterable[str], *, small: bool = False) -> str:
    """Return figures side by side as far as there is room."""
    return f'<div class="charts{" small" if small else ""}">{"".join(items)}</div>'


def folded(title: str, content: str) -> str:
    """Return what is shown when it is asked for."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"
