"""Tunes as HTML that shows them as printed music and plays them in the browser: nothing is loaded from elsewhere.

The sound is made by the page itself from the same partials as `sound.py`, so that a page of many tunes stays small.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

from rnnlab.generation.abc.notation import draw, note_id
from rnnlab.generation.abc.performance import perform

_PAGE_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem;
  background: Canvas; color: CanvasText }
h1 { font-size: 1.4rem }
"""

# Of the sections, on whatever page they stand.
TUNE_STYLE = """
.tune { margin: 2rem 0; padding: 1rem 1.2rem; border: 1px solid #8885; border-radius: 10px; break-inside: avoid }
.tune header { display: flex; align-items: center; gap: .8rem; flex-wrap: wrap; margin-bottom: .5rem }
.tune h3 { font-size: 1.15rem; margin: 0 }
.tune button { font: inherit; padding: .25rem 1rem; border: 1px solid #8888; border-radius: 6px; background: #8882;
  color: inherit; cursor: pointer; min-width: 6rem }
.tune .score { width: 100%; height: auto; overflow: visible; display: block }
.tune .score text { fill: currentColor } .tune .score .on { color: #d9480f; fill: #d9480f; stroke: #d9480f }
.tune .facts { opacity: .7; font-size: .85rem }
.tune .bar { height: 4px; background: #8883; border-radius: 2px }
.tune .bar i { display: block; height: 100%; width: 0; background: #d9480f; border-radius: 2px }
.tune pre { overflow-x: auto; background: #8881; padding: .8rem; border-radius: 6px; font-size: .85rem }
.tune summary { cursor: pointer }
@media print { .tune button, .tune .bar, .tune details { display: none } }
"""

# To stand behind the sections: it makes their buttons play.
PLAYER = """
"use strict";
const PARTIALS = [1, 2, 3, 4, 5, 6, 7, 8], RELEASE = 0.08, AHEAD = 0.3;
let playing = null;

function wave(context) {
  const real = new Float32Array(9), imag = new Float32Array(9);
  for (const n of PARTIALS) imag[n] = n ** -1.6;
  return context.createPeriodicWave(real, imag);
}

function sound(player, [start, length, semitone]) {
  const at = player.began + start, context = player.context, hertz = 440 * 2 ** ((semitone - 69) / 12);
  const source = context.createOscillator(), gain = context.createGain(), tone = context.createBiquadFilter();
  source.setPeriodicWave(player.wave);
  source.frequency.value = hertz;
  tone.type = "lowpass";
  tone.frequency.setValueAtTime(Math.min(hertz * 9, 12000), at);
  tone.frequency.exponentialRampToValueAtTime(hertz * 2, at + 0.6);
  gain.gain.setValueAtTime(0, at);
  gain.gain.linearRampToValueAtTime(0.25, at + 0.006);
  gain.gain.setTargetAtTime(0, at + 0.006, 0.65 * 2 ** ((60 - semitone) / 24));
  gain.gain.setTargetAtTime(0, at + length, RELEASE / 3);
  source.connect(tone).connect(gain).connect(player.out);
  source.start(at);
  source.stop(at + length + 3 * RELEASE);
}

function mark(note, isOn) {
  const element = document.getElementById(note[3]);
  if (element) element.classList.toggle("on", isOn);
}

function stop() {
  if (!playing) return;
  const player = playing;
  playing = null;
  cancelAnimationFrame(player.frame);
  player.lit.forEach(note => mark(note, false));
  player.cursor.style.width = "0";
  player.button.textContent = "\\u25b6 Play";
  player.context.close();
}

function play(section, tune) {
  stop();
  const context = new AudioContext(), out = context.createDynamicsCompressor();
  out.connect(context.destination);
  const player = playing = {context, out, wave: wave(context), began: context.currentTime + 0.1,
    next: 0, lit: new Set(), frame: 0,
    button: section.querySelector("button"), cursor: section.querySelector(".bar i")};
  player.button.textContent = "\\u25a0 Stop";
  const tick = () => {
    if (playing !== player) return;
    const now = context.currentTime - player.began;
    while (player.next < tune.notes.length && tune.notes[player.next][0] < now + AHEAD)
      sound(player, tune.notes[player.next++]);
    const lit = new Set(tune.notes.filter(note => note[0] <= now && now < note[0] + note[1]));
    const ids = new Set([...lit].map(note => note[3]));
    player.lit.forEach(note => ids.has(note[3]) || mark(note, false));
    lit.forEach(note => mark(note, true));
    player.lit = lit;
    player.cursor.style.width = Math.min(100, Math.max(0, 100 * now / tune.seconds)) + "%";
    if (now > tune.seconds + 0.5) stop();
    else player.frame = requestAnimationFrame(tick);
  };
  tick();
}

for (const section of document.querySelectorAll("section[data-tune]")) {
  const tune = JSON.parse(section.querySelector("script").textContent);
  const button = section.querySelector("button");
  button.onclick = () => playing && playing.button === button ? stop() : play(section, tune);
}
"""


def tunes_page(tunes: Sequence[str], title: str) -> str:
    """Return a whole HTML document.

    Args:
        tunes: in ABC notation; one that cannot be played is shown as text, with the reason.
        title: of the page.
    """
    name = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{_PAGE_STYLE}{TUNE_STYLE}</style></head>\n"
        f"<body><h1>{name}</h1>{tune_sections(tunes)}<script>{PLAYER}</script></body></html>\n"
    )


def tune_sections(tunes: Sequence[str]) -> str:
    """Return a section for each tune: score, button and text. `TUNE_STYLE` and `PLAYER` belong to them.

    Args:
        tunes: in ABC notation.
    """
    return "".join(_section(number, tune) for number, tune in enumerate(tunes, start=1))


def _section(number: int, tune: str) -> str:
    """One tune: score, button and text."""
    text = f"<details><summary>ABC</summary><pre>{html.escape(tune.strip())}</pre></details>"
    try:
        performance = perform(tune)
    except ValueError as error:
        shown = text.replace("<details>", "<details open>")
        reason = f'<p class="facts">no sound: {html.escape(str(error))}</p>'
        return f'<section class="tune"><header><h3>{number}.</h3></header>{reason}{shown}</section>\n'
    header = performance.tune
    prefix = f"t{number}"
    seconds = performance.whole_note
    notes = [
        [
            round(float(note.start) * seconds, 4),
            round(float(note.length) * seconds, 4),
            note.semitone,
            note_id(prefix, note.place),
        ]
        for note in performance.notes
    ]
    # "</" would end the script.
    content = {"notes": notes, "seconds": round(performance.seconds, 3)}
    data = json.dumps(content, separators=(",", ":")).replace("</", "<\\/")
    metre = f", {header.metre.beats}/{header.metre.beat}" if header.metre else ""
    skipped = performance.music.num_skipped
    facts = f"key {header.key}{metre}, {performance.music.num_notes} notes, {performance.seconds:.0f} s" + (
        f", {skipped} signs that are no music passed over" if skipped else ""
    )
    return (
        f'<section class="tune" data-tune="{number}"><header>'
        f"<h3>{html.escape(f'{number}. {header.title}'.strip())}</h3>"
        f'<button type="button">\u25b6 Play</button><span class="facts">{html.escape(facts)}</span></header>'
        f'<div class="bar"><i></i></div>{draw(performance, prefix)}{text}'
        f'<script type="application/json">{data}</script></section>\n'
    )
