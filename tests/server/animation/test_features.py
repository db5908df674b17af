"""What of a stream's sound reaches Wav2Vec2."""

import numpy as np
import pytest

from server.animation.features import next_segment
from server.animation.windows import WindowSpec, windows
from server.audio.clock import MODEL_SAMPLES_PER_FRAME
from server.audio.normalizer import RunningNormalizer
from server.audio.pcm import Samples
from server.audio.timeline import AudioBudget, AudioTimeline
from tests.support.noises import NOISES, noise

SPEC = WindowSpec(ladder=(17, 33), overlap=5, audio_lookahead=5, audio_left_context=50)
LENGTH = 60 * MODEL_SAMPLES_PER_FRAME


async def segments(samples: Samples, chunk: int) -> list[Samples]:
    timeline = AudioTimeline(AudioBudget(len(samples) + 1))
    for start in range(0, len(samples), chunk):
        await timeline.push(samples[start : start + chunk])
    await timeline.finish(np.zeros(0, np.float32), len(samples))
    normalize = RunningNormalizer()
    first_two = zip(windows(SPEC), range(2), strict=False)
    return [
        (await next_segment(timeline, window, SPEC, normalize)).waveform for window, _ in first_two
    ]


@pytest.mark.parametrize("name", NOISES)
async def test_a_rooms_noise_is_heard_as_silence(name: str) -> None:
    for waveform in await segments(noise(name, LENGTH, -50), LENGTH):
        assert not waveform.any()


async def test_what_is_heard_does_not_depend_on_the_chunking() -> None:
    samples = noise("pink", LENGTH, -50)
    samples[LENGTH // 3 : LENGTH // 2] += noise("white", LENGTH // 2 - LENGTH // 3, -20)
    whole = await segments(samples, LENGTH)
    assert all(waveform.any() and not waveform.all() for waveform in whole)
    for chunk in (1, 777):
        for expected, found in zip(whole, await segments(samples, chunk), strict=True):
            np.testing.assert_array_equal(found, expected)
