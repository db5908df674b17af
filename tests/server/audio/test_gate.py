"""Noise alone becomes silence; speech, also quiet speech, stays as it is."""

import numpy as np
import pytest
import soundfile

from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from server.audio.gate import HOLD_FRAMES, gate
from server.audio.pcm import Samples
from tests.support.noises import NOISES, noise
from tests.support.paths import ROOT

FRAME = MODEL_SAMPLES_PER_FRAME
LENGTH = 50 * FRAME


def speech() -> Samples:
    samples, rate = soundfile.read(ROOT / "docs" / "media" / "speech.wav", dtype="float32")
    assert rate == MODEL_RATE_HZ
    return np.asarray(samples, np.float32)


@pytest.mark.parametrize("level_db", [-58, -46])
@pytest.mark.parametrize("name", NOISES)
def test_noise_alone_is_silenced(name: str, level_db: float) -> None:
    assert not gate(noise(name, LENGTH, level_db)).any()


@pytest.mark.parametrize("name", NOISES)
def test_noise_that_begins_after_digital_silence_is_silenced(name: str) -> None:
    begins = noise(name, LENGTH, -50)
    begins[:FRAME] *= np.linspace(0, 1, FRAME, dtype=np.float32)
    assert not gate(np.pad(begins, (LENGTH // 2, 0))).any()


def test_an_offset_is_no_sound() -> None:
    hum = noise("hum", LENGTH, -58)
    np.testing.assert_array_equal(gate(hum + np.float32(0.1)), gate(hum))


@pytest.mark.parametrize("level_db", [0, -20, -40])
def test_speech_passes_at_any_level(level_db: float) -> None:
    samples = speech() * np.float32(10 ** (level_db / 20))
    for start in range(0, len(samples) - LENGTH, 10 * FRAME):
        part = samples[start : start + LENGTH]
        kept = part * gate(part)
        assert np.square(part - kept).sum() <= 1e-4 * np.square(part).sum()


@pytest.mark.parametrize("name", NOISES)
def test_speech_in_noise_passes_and_the_noise_before_it_does_not(name: str) -> None:
    loud = np.flatnonzero(np.abs(speech()) > 0.05)[0]
    spoken = speech()[loud : loud + LENGTH]
    gain = gate(np.pad(spoken, (LENGTH, 0)) + noise(name, 2 * LENGTH, -50))
    assert not gain[: LENGTH - (HOLD_FRAMES + 1) * FRAME].any()
    assert gain[LENGTH : LENGTH + len(spoken) // 2].all()


def test_what_is_loud_passes_whatever_it_is() -> None:
    assert (gate(noise("white", LENGTH, -40)) == 1).all()


@pytest.mark.parametrize("length", [0, 1, FRAME - 1, FRAME, FRAME + 1])
def test_any_length_is_taken(length: int) -> None:
    assert not gate(np.zeros(length, np.float32)).any()
    assert gate(noise("white", LENGTH, -20)[:length]).shape == (length,)


def test_the_gate_opens_and_closes_without_a_step() -> None:
    burst = noise("hum", LENGTH, -60)
    burst[LENGTH // 2 : LENGTH // 2 + FRAME] = noise("white", FRAME, -20)
    gain = gate(burst)
    assert gain[0] == gain[-1] == 0
    assert gain.max() == 1
    assert np.abs(np.diff(gain)).max() <= 1.01 / FRAME
