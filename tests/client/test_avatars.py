"""Avatars as the client and the program `animate` have them, against a gateway."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import soundfile
from typer.testing import CliRunner, Result

from echomimic_client.aio import AsyncAvatarClient
from echomimic_client.audio import AudioFormat
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import VideoFormat
from echomimic_client.errors import CallError
from echomimic_client.program import app
from echomimic_client.results import Avatar
from tests.support.fake_engine import FakeEngine
from tests.support.serving import SIZE, Served, portrait, served, small_windows, speech

SPEECH = speech(6400).tobytes()
PCM = AudioFormat("s16le", 16_000, 1)
RAW = VideoFormat("rgb")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Served]:
    async with served(FakeEngine(), tmp_path, small_windows()) as running:
        yield running


async def animate(server: Served, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*words, "--server", server.address])


async def test_an_avatar_takes_the_place_of_its_portrait(server: Served) -> None:
    async with AsyncAvatarClient(server.address) as client:

        async def frames(who: bytes | Avatar) -> list[bytes]:
            return [f.data async for f in client.animate(who, SPEECH, PCM, video=RAW)]

        avatar = await client.create_avatar(portrait(128), size=(96, SIZE), strict=False)
        assert avatar.size == (96, SIZE)
        assert "PORTRAIT_SMALL" in [warning.reason for warning in avatar.warnings]
        assert (avatar.expires - avatar.created).total_seconds() == pytest.approx(24 * 3600)
        whole = await client.create_avatar(portrait())
        assert await frames(whole) == await frames(portrait())
        rendered = client.render_frames(whole, SPEECH, PCM, video=RAW)
        assert [frame.data async for frame in rendered] == await frames(portrait())
        assert [each.avatar_id for each in await client.list_avatars()] == [
            avatar.avatar_id,
            whole.avatar_id,
        ]
        await client.delete_avatar(avatar.avatar_id)
        with pytest.raises(CallError) as caught:
            await client.get_avatar(avatar.avatar_id)
        assert caught.value.reason == "AVATAR_NOT_FOUND"
        with pytest.raises(ValueError, match="framing"):
            client.animate(whole, SPEECH, PCM, framing="head_and_shoulders")


async def test_the_blocking_client_does_the_same(server: Served) -> None:
    def talk() -> None:
        with AvatarClient(server.address) as client:
            avatar = client.create_avatar(portrait())
            assert client.get_avatar(avatar.avatar_id).expires >= avatar.expires
            assert len(list(client.animate(avatar, SPEECH, PCM, video=RAW))) == 10
            assert [each.avatar_id for each in client.list_avatars()] == [avatar.avatar_id]
            client.delete_avatar(avatar.avatar_id)
            assert client.list_avatars() == ()

    await asyncio.to_thread(talk)


async def test_the_program_creates_uses_lists_and_deletes(server: Served, tmp_path: Path) -> None:
    face, said = tmp_path / "me.png", tmp_path / "speech.wav"
    face.write_bytes(portrait(128))
    soundfile.write(said, speech(6400), 16_000)
    created = await animate(server, "avatars", "create", str(face), "--size", f"96x{SIZE}")
    # The gateway's log is there as well, which is of this process, too.
    avatar_id = created.stdout.splitlines()[-1]
    assert "warning: " in created.stderr
    listed = await animate(server, "avatars", "list")
    assert listed.stdout.splitlines()[-1].startswith(f"{avatar_id}  96x{SIZE}  until ")
    for words in (["--avatar", avatar_id], ["render", "--avatar", avatar_id]):
        folder = tmp_path / f"frames-{len(words)}"
        made = await animate(server, *words, "--audio", str(said), "--frames", str(folder))
        assert made.exit_code == 0, made.stderr
        assert len(list(folder.iterdir())) == 10
    assert (await animate(server, "avatars", "delete", avatar_id)).exit_code == 0
    again = await animate(server, "avatars", "delete", avatar_id)
    assert again.exit_code == 1
    assert "names no avatar of this caller" in again.stderr


@pytest.mark.parametrize("words", [[], ["--portrait", "me.png", "--avatar", "a"]])
async def test_the_program_takes_one_of_portrait_and_avatar(
    server: Served, tmp_path: Path, words: list[str]
) -> None:
    said = tmp_path / "speech.wav"
    soundfile.write(said, speech(640), 16_000)
    result = await animate(server, *words, "--audio", str(said), "--frames", str(tmp_path / "out"))
    assert result.exit_code == 2
    assert "--portrait FILE or --avatar ID" in result.stderr.replace("\n", " ")
