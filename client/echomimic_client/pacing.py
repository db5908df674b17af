"""Speech at the speed of speaking, for trying out live streams with files."""

import time
from collections.abc import Callable, Iterable, Iterator

from echomimic_client.audio import AudioFormat


def paced(
    chunks: Iterable[bytes],
    audio_format: AudioFormat,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Yields each chunk when its last sample would have been spoken.

    The moment follows from the count of samples since the first call, so delays do not add up.

    Args:
        chunks: PCM.
        audio_format: how to read it.
        now: a monotonic clock in seconds.
        sleep: waits for some seconds.
    """
    began_s = now()
    spoken = 0
    for chunk in chunks:
        spoken += len(chunk) // audio_format.bytes_per_sample
        wait_s = began_s + spoken / audio_format.sample_rate_hz - now()
        if wait_s > 0:
            sleep(wait_s)
        yield chunk
