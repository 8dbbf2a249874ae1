"""Let a played tune be heard: a plucked string made of sine waves, and WAV files.

Every note is a sum of partials that die away, the higher the sooner, as on a harp. Nothing is drawn at random: the same
tune gives the same samples.
"""

from __future__ import annotations

import io
import wave

import numpy as np

from rnnlab.generation.abc.performance import Performance

SAMPLE_RATE = 22_050  # samples a second
_NUM_PARTIALS = 8
_ATTACK = 0.006  # seconds until a note is at its loudest: shorter ones click
_RELEASE = 0.08  # seconds that it rings on after its end
_HALF_LIFE = 0.45  # seconds in which the first partial of middle C loses half of its strength
_LOUDEST = 0.89  # -1 dB of full scale
_CONCERT_A, _A = 440.0, 69


def render(performance: Performance, *, sample_rate: int = SAMPLE_RATE, max_seconds: float | None = None) -> np.ndarray:
    """Return a tune as sound.

    Args:
        performance: what is played.
        sample_rate: samples a second.
        max_seconds: stop here, with a fade of a tenth of a second; None: play all of it.

    Returns:
        <int16>(samples,), one channel, its loudest sample at -1 dB of full scale.
    """
    seconds = performance.seconds + 2 * _RELEASE
    wanted = seconds if max_seconds is None else min(seconds, max_seconds)
    total = np.zeros(max(1, int(wanted * sample_rate)), dtype=np.float32)
    pitches: dict[tuple[int, int], np.ndarray] = {}  # tunes repeat their notes
    for note in performance.notes:
        first = round(float(note.start) * performance.whole_note * sample_rate)
        if first >= len(total):
            break
        num_samples = round((float(note.length) * performance.whole_note + _RELEASE) * sample_rate)
        num_samples = min(num_samples, len(total) - first)  # no more than is heard
        wave_of = pitches.get((note.semitone, num_samples))
        if wave_of is None:
            wave_of = pitches[note.semitone, num_samples] = _note(note.semitone, num_samples, sample_rate)
        total[first : first + num_samples] += wave_of
    if wanted < seconds:
        fade = min(len(total), sample_rate // 10)
        total[len(total) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    loudest = float(np.abs(total).max())
    return np.round(total * (_LOUDEST * 32767 / loudest if loudest else 0)).astype(np.int16)


def wav_bytes(samples: np.ndarray, *, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Return the content of a WAV file, 16 bits, one channel.

    Args:
        samples: <int16>(samples,).
        sample_rate: samples a second.
    """
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def frequency(semitone: int) -> float:
    """The equally tempered pitch of a MIDI note, in hertz; 69 is the A of 440 Hz."""
    return _CONCERT_A * 2 ** ((semitone - _A) / 12)


def _note(semitone: int, num_samples: int, sample_rate: int) -> np.ndarray:
    """One note, <float32>(num_samples,): it ends in silence."""
    hertz = frequency(semitone)
    time = np.arange(num_samples, dtype=np.float32) / sample_rate
    # High strings are short ones and die away sooner.
    decay = np.log(2) / _HALF_LIFE * 2 ** ((semitone - 60) / 24)
    total = np.zeros(num_samples, dtype=np.float32)
    for partial in range(1, _NUM_PARTIALS + 1):
        if hertz * partial > 0.45 * sample_rate:
            break  # beyond half the rate it would come back as another pitch
        strength = np.exp(-decay * (0.6 + 0.4 * partial) * time) / partial**1.6
        total += strength * np.sin((2 * np.pi * hertz * partial * time).astype(np.float64)).astype(np.float32)
    attack = np.minimum(time / _ATTACK, 1)
    release = np.minimum((num_samples - 1 - np.arange(num_samples, dtype=np.float32)) / (_RELEASE * sample_rate), 1)
    return total * attack * release**2
