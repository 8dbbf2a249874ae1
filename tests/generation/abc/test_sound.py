import io
import wave

import numpy as np
import pytest

from rnnlab.generation.abc.performance import perform
from rnnlab.generation.abc.sound import SAMPLE_RATE, frequency, render, wav_bytes

SLOW = "X:1\nM:4/4\nL:1/4\nQ:1/4=120\nK:D\n"


def test_the_pitch_that_is_heard_is_the_note():
    performance = perform(SLOW + "D, F A d' | z4")
    samples = render(performance)
    for note in performance.notes:
        start = round(float(note.start) * performance.whole_note * SAMPLE_RATE)
        part = samples[start : start + SAMPLE_RATE // 2] * np.hanning(SAMPLE_RATE // 2)
        heard = np.abs(np.fft.rfft(part)).argmax() * 2  # half a second: bins of 2 Hz
        assert abs(heard - frequency(note.semitone)) <= 1.5, note


def test_frequencies_are_those_of_equal_temperament():
    assert frequency(69) == 440
    assert frequency(57) == 220
    assert frequency(60) == pytest.approx(261.6256, abs=1e-4)  # middle C, to the digits it is printed with


def test_it_is_as_loud_as_it_may_be_and_never_louder():
    for music in ("D", "[DFAdfa]4", "D D D D"):
        samples = render(perform(SLOW + music))
        assert samples.dtype == np.int16
        assert np.abs(samples.astype(int)).max() == pytest.approx(0.89 * 32767, abs=1)  # rounding


def test_rests_are_silent_and_the_end_too():
    performance = perform(SLOW + "D z D")
    samples = render(performance)
    assert len(samples) == int((performance.seconds + 0.16) * SAMPLE_RATE)
    assert not samples[round(0.6 * SAMPLE_RATE) : round(0.99 * SAMPLE_RATE)].any()
    assert samples[-1] == 0


def test_the_same_tune_gives_the_same_samples():
    first, second = (render(perform(SLOW + "[DF]2 (3AAA")) for _ in range(2))
    assert np.array_equal(first, second)


def test_a_long_tune_is_cut_with_a_fade():
    samples = render(perform(SLOW + "D4|" * 20), sample_rate=8000, max_seconds=2.5)
    assert len(samples) == 20_000
    assert samples[-1] == 0
    assert np.abs(samples[-80:].astype(int)).max() < 0.15 * np.abs(samples[-1600:-1200].astype(int)).max()


def test_a_wav_file_holds_the_samples():
    samples = np.array([0, 1, -32768, 32767], dtype=np.int16)
    with wave.open(io.BytesIO(wav_bytes(samples, sample_rate=16_000))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        assert np.array_equal(np.frombuffer(file.readframes(9), "<i2"), samples)
