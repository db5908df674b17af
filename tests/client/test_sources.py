"""What speech and portraits a call takes, in whatever form."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from tests.support.fake_service import FakeService, served
from tests.support.speech_clips import RATE, clip

FACE = b"a portrait file"
PCM = AudioFormat("s16le", RATE)
SECOND = bytes(2 * RATE)


async def plain(chunks: list[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


NOISE = np.random.default_rng(0).integers(-9000, 9000, 5_001, dtype=np.int16)
ODD = [NOISE.tobytes()[:1], b"", NOISE.tobytes()[1:778], bytearray(NOISE.tobytes()[778:])]
FORMS = {
    "bytes": NOISE.tobytes(),
    "bytearray": bytearray(NOISE.tobytes()),
    "memoryview": memoryview(NOISE.tobytes()),
    "array": NOISE,
    "list of arrays": [NOISE[:7], NOISE[7:7], NOISE[7:].reshape(-1, 1)],
    "cut at odd bytes": ODD,
    "generator": (NOISE[n : n + 640] for n in range(0, 5_001, 640)),
}


@pytest.mark.parametrize("form", FORMS)
def test_speech_in_any_form_arrives_whole(form: str) -> None:
    service = FakeService()
    with served(service) as address, AvatarClient(address) as client:
        frames = list(client.animate(FACE, FORMS[form], PCM))
    assert b"".join(service.chunks) == NOISE.tobytes()
    assert all(service.chunks)
    assert {len(chunk) % 2 for chunk in service.chunks} == {0}
    assert len(frames) == 8


@pytest.mark.parametrize(
    "speech",
    [NOISE, ODD, (chunk for chunk in ODD), plain([NOISE[:7], NOISE[7:]])],
    ids=["array", "list", "plain generator", "asynchronous generator"],
)
async def test_asynchronous_calls_take_plain_and_asynchronous_sources(speech: Any) -> None:
    service = FakeService()
    with served(service) as address:
        async with AsyncAvatarClient(address) as client:
            assert len([f async for f in client.animate(FACE, speech, PCM)]) == 8
    assert b"".join(service.chunks) == NOISE.tobytes()


async def test_a_plain_source_that_blocks_does_not_block_the_loop() -> None:
    turn = threading.Event()

    def waiting() -> Iterator[bytes]:
        assert turn.wait(10)
        yield SECOND

    with served(FakeService()) as address:
        async with AsyncAvatarClient(address) as client:
            stream = client.animate(FACE, waiting(), PCM)
            await stream.wait_until_started()
            await asyncio.sleep(0)
            turn.set()
            assert len([frame async for frame in stream]) == 25


def test_portraits_and_files_may_be_paths_and_arrays(tmp_path: Path) -> None:
    from client.demo.media import PORTRAIT, SPEECH

    service = FakeService()
    picture = np.zeros((8, 8, 3), np.uint8)
    with served(service) as address, AvatarClient(address) as client:
        list(client.animate(str(PORTRAIT), SPEECH))
        assert service.start.portrait.image == PORTRAIT.read_bytes()
        client.render(picture, str(SPEECH))
        assert service.render.portrait.image.startswith(b"\x89PNG")
        with pytest.raises(ValueError, match=r"uint8 \[height, width, 3\]"):
            client.render(picture[..., 0], SPEECH)


@pytest.mark.parametrize(
    ("speech", "audio_format", "told"),
    [
        (SECOND, None, "audio_format: PCM does not tell"),
        (clip(), AudioFormat("f32le", RATE), "audio_format: the speech is"),
        (NOISE.astype(np.float32), PCM, "float32 is f32le"),
        (NOISE[:10].reshape(-1, 2), PCM, r"says 1 channels"),
    ],
)
def test_speech_that_does_not_fit_its_format_is_refused(
    speech: Any, audio_format: AudioFormat | None, told: str
) -> None:
    with (
        served(FakeService()) as address,
        AvatarClient(address) as client,
        pytest.raises(ValueError, match=told),
    ):
        list(client.animate(FACE, speech, audio_format))
