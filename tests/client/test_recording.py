"""A file sent at once does not run away from its frames."""

import asyncio
from pathlib import Path

import pytest

from client.demo.media import PORTRAIT
from echomimic_client import recording
from echomimic_client.blocking import AvatarClient
from tests.support import serving as gateway
from tests.support.fake_engine import FakeEngine
from tests.support.speech_clips import RATE, clip


async def test_more_speech_than_a_server_keeps_may_be_sent_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_AHEAD_S", 2.0)
    settings = gateway.small_windows(max_buffered_audio_s=3.0)
    speech, engine = clip(8 * RATE), FakeEngine()
    engine.delay_s = 0.02

    def film(address: str) -> recording.Recording:
        with AvatarClient(address) as client:
            return recording.record(
                client,
                PORTRAIT,
                speech,
                film=None,
                live=False,
                chunk_ms=40,
                on_picture=lambda *_: None,
            )

    async with gateway.served(engine, tmp_path, settings) as running:
        done = await asyncio.to_thread(film, running.address)
    assert done.frames == speech.frame_count
    assert done.film == b""
    assert done.playable_latency_s >= done.first_frame_s > 0
