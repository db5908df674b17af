"""Speech for the client's tests, and time that passes only in name."""

from collections.abc import Callable, Iterator

import numpy as np

from echomimic_client.audio import AudioClip, AudioFormat
from echomimic_client.pacing import paced

RATE = 16_000


def clip(samples: int = 11_111, rate: int = RATE, channels: int = 1) -> AudioClip:
    noise = np.random.default_rng(0).integers(-9000, 9000, (samples, channels), dtype=np.int16)
    return AudioClip(AudioFormat("s16le", rate, channels), noise.astype("<i2").tobytes())


class SlowClock:
    """A clock on which every wait lasts longer than was asked for."""

    def __init__(self, delay_s: float) -> None:
        self.now_s = 100.0
        self._delay_s = delay_s

    def now(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds + self._delay_s


def unhurried(slept_s: list[float]) -> Callable[..., Iterator[bytes]]:
    """A stand-in for `paced` that does not wait, and notes that it was used."""

    def fake(chunks: Iterator[bytes], audio_format: AudioFormat) -> Iterator[bytes]:
        clock = SlowClock(0.0)
        for chunk in paced(chunks, audio_format, now=clock.now, sleep=clock.sleep):
            slept_s.append(clock.now_s)
            yield chunk

    return fake
