"""Avatars: portraits that are prepared once, and are their caller's own."""

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.access.caller import Caller
from server.errors import AvatarNotFoundError, LimitError
from server.pictures.face import FaceBox
from server.pictures.framing import Framing
from server.sessions.avatars import Avatars
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.sitter import Sitter
from tests.support.fake_engine import FakeEngine
from tests.support.paths import ROOT
from tests.support.serving import (
    SIZE,
    Served,
    animate,
    frames,
    manifest,
    portrait,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
    tokenizer,
)

ONE_FRAME = said(speech(640))
DRAWN = (ROOT / "docs" / "media" / "portrait.png").read_bytes()
ENCODERS = {"image_encoder", "text_encoder", "vae_encoder"}
DAY_S = 24 * 3600.0
ANN, BOB = Caller("ann"), Caller("bob")
SITTER = Sitter(portrait(), "portrait.image")
WHOLE = (SIZE, SIZE)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Served]:
    async with served(engine, tmp_path, small_windows(condition_cache_bytes=0)) as running:
        yield running


async def create(server: Served, image: bytes | None = None, **changes: Any) -> pb.Avatar:
    message = pb.Portrait(image=image or portrait())
    request = pb.CreateAvatarRequest(portrait=message, **changes)
    return (await server.stub.CreateAvatar(request)).avatar


def of(avatar: pb.Avatar, **changes: Any) -> pb.AnimateRequest:
    return start(portrait=None, avatar_id=avatar.avatar_id, **changes)


async def refused(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return refusal(caught.value)


async def test_a_stream_of_an_avatar_is_that_of_its_portrait_and_encodes_nothing_at_its_start(
    server: Served, engine: FakeEngine
) -> None:
    plain = await animate(server, [start(), *ONE_FRAME])
    avatar = await create(server)
    engine.executions.clear()
    for _ in range(2):
        answers = await animate(server, [of(avatar), *ONE_FRAME])
        assert [each.data for each in frames(answers)] == [each.data for each in frames(plain)]
        assert not ENCODERS & set(engine.executions)


async def test_a_render_of_an_avatar_is_that_of_its_portrait(server: Served) -> None:
    avatar = await create(server)
    asked = start().start
    common: dict[str, Any] = {
        "audio_format": asked.audio_format,
        "audio": speech(6400).tobytes(),
        "video_format": asked.video_format,
        "output": pb.RENDER_OUTPUT_FRAMES,
    }

    async def render(**who: Any) -> list[bytes]:
        request = pb.RenderRequest(**common, **who)
        return [answer.frame.data async for answer in server.stub.Render(request)]

    made = await render(avatar_id=avatar.avatar_id)
    assert made == await render(portrait=asked.portrait)
    problem = await refused(
        anext(
            aiter(
                server.stub.Render(
                    pb.RenderRequest(
                        **common, avatar_id=avatar.avatar_id, exact_clip=pb.ExactClip()
                    )
                )
            )
        )
    )
    assert (problem.code, problem.field) == (grpc.StatusCode.INVALID_ARGUMENT, "avatar_id")


async def test_warnings_are_told_once_where_the_avatar_is_created(server: Served) -> None:
    request = pb.CreateAvatarRequest(portrait=pb.Portrait(image=portrait(128)))
    created = await server.stub.CreateAvatar(request)
    assert "PORTRAIT_SMALL" in [warning.reason for warning in created.warnings]
    answers = await animate(server, [of(created.avatar), *ONE_FRAME])
    assert not [answer for answer in answers if answer.WhichOneof("message") == "warning"]


async def test_an_avatar_has_the_size_it_was_prepared_for(server: Served) -> None:
    avatar = await create(server, width=96, height=SIZE)
    assert (avatar.width, avatar.height) == (96, SIZE)
    (frame,) = frames(await animate(server, [of(avatar), *ONE_FRAME]))
    assert (frame.width, frame.height) == (96, SIZE)
    other = pb.VideoFormat(width=SIZE, height=SIZE)
    problem = await refused(animate(server, [of(avatar, video_format=other), *ONE_FRAME]))
    assert problem.field == "start.video_format.width"
    assert f"ask for one of 96x{SIZE}" in problem.text


async def test_what_is_known_of_avatars_is_told_and_forgotten_on_request(server: Served) -> None:
    first, second = await create(server), await create(server)
    kept = first.expire_time.ToDatetime() - first.create_time.ToDatetime()
    assert kept.total_seconds() == pytest.approx(DAY_S)
    listed = await server.stub.ListAvatars(pb.ListAvatarsRequest())
    assert list(listed.avatars) == [first, second]
    got = await server.stub.GetAvatar(pb.GetAvatarRequest(avatar_id=second.avatar_id))
    assert got.avatar == second
    await server.stub.DeleteAvatar(pb.DeleteAvatarRequest(avatar_id=first.avatar_id))
    listed = await server.stub.ListAvatars(pb.ListAvatarsRequest())
    assert list(listed.avatars) == [second]
    for call, field in {
        server.stub.GetAvatar(pb.GetAvatarRequest(avatar_id=first.avatar_id)): "avatar_id",
        server.stub.DeleteAvatar(pb.DeleteAvatarRequest(avatar_id=first.avatar_id)): "avatar_id",
    }.items():
        problem = await refused(call)
        assert (problem.code, problem.reason) == (
            grpc.StatusCode.NOT_FOUND,
            "AVATAR_NOT_FOUND",
        )
        assert problem.text.startswith(field)
    problem = await refused(animate(server, [of(first), *ONE_FRAME]))
    assert problem.text.startswith("start.avatar_id")


@pytest.mark.parametrize("image", [b"", b"no picture"])
async def test_what_is_no_portrait_makes_no_avatar(server: Served, image: bytes) -> None:
    request = pb.CreateAvatarRequest(portrait=pb.Portrait(image=image))
    assert (await refused(server.stub.CreateAvatar(request))).field == "portrait.image"
    assert not (await server.stub.ListAvatars(pb.ListAvatarsRequest())).avatars


async def test_a_stream_goes_on_when_its_avatar_is_deleted(server: Served) -> None:
    avatar = await create(server)
    call = server.stub.Animate()
    await call.write(of(avatar))
    await call.read()
    await server.stub.DeleteAvatar(pb.DeleteAvatarRequest(avatar_id=avatar.avatar_id))
    for message in ONE_FRAME:
        await call.write(message)
    kinds: list[str] = []
    while isinstance(answer := await call.read(), pb.AnimateResponse):
        kinds.append(answer.WhichOneof("message") or "")
    assert (kinds.count("frame"), kinds[-1]) == (1, "summary")


@dataclass
class Shelf:
    """Avatars that are kept by a clock of the test's own."""

    settings: dict[str, Any]
    folder: Path
    engine: FakeEngine
    now_s: float = 1_800_000_000.0

    def avatars(self, **changes: Any) -> Avatars:
        settings = small_windows(**self.settings | changes)
        gateway = Gateway(Offer(settings, manifest()), self.engine, tokenizer(self.folder))
        return Avatars(gateway.offer, gateway.prepare_avatar, lambda: self.now_s)


@pytest.fixture
def make(tmp_path: Path, engine: FakeEngine) -> Callable[..., Shelf]:
    return lambda **settings: Shelf(settings, tmp_path, engine)


async def find(avatars: Avatars, caller: Caller, avatar_id: str) -> Any:
    return await avatars.find(caller, avatar_id, field="avatar_id")


async def test_an_avatar_is_its_callers_own(make: Callable[..., Shelf]) -> None:
    avatars = make().avatars()
    avatar, _ = await avatars.create(ANN, SITTER, WHOLE)
    assert await find(avatars, ANN, avatar.avatar_id) == avatar
    with pytest.raises(AvatarNotFoundError):
        await find(avatars, BOB, avatar.avatar_id)
    assert (await avatars.of(ANN), await avatars.of(BOB)) == ([avatar], [])


async def test_an_avatar_expires_unless_it_is_used(make: Callable[..., Shelf]) -> None:
    shelf = make(avatar_lifetime_s=100)
    avatars = shelf.avatars()
    used, _ = await avatars.create(ANN, SITTER, WHOLE)
    unused, _ = await avatars.create(ANN, SITTER, WHOLE)
    shelf.now_s += 60
    await avatars.prepared(used)
    shelf.now_s += 60
    assert await avatars.of(ANN) == [used]
    with pytest.raises(AvatarNotFoundError):
        await find(avatars, ANN, unused.avatar_id)
    with pytest.raises(AvatarNotFoundError):
        await avatars.prepared(unused)
    shelf.now_s += 100
    assert await avatars.of(ANN) == []


async def test_a_callers_own_limit_counts_and_none_is_more_than_all(
    make: Callable[..., Shelf],
) -> None:
    avatars = make(max_avatars=2, max_avatars_per_caller=1).avatars()
    generous, none = Caller("generous", max_avatars=9), Caller("none", max_avatars=0)
    assert [avatars.places_of(caller) for caller in (ANN, generous, none)] == [1, 2, 0]
    for _ in range(2):
        await avatars.create(generous, SITTER, WHOLE)
    with pytest.raises(LimitError, match="2 avatars of yours are kept already"):
        await avatars.create(generous, SITTER, WHOLE)
    with pytest.raises(LimitError, match="none are kept for you; send the portrait itself"):
        await avatars.create(none, SITTER, WHOLE)


async def test_there_are_no_more_than_are_allowed(make: Callable[..., Shelf]) -> None:
    avatars = make(max_avatars=3, max_avatars_per_caller=2).avatars()
    first, _ = await avatars.create(ANN, SITTER, WHOLE)
    await avatars.create(ANN, SITTER, WHOLE)
    with pytest.raises(LimitError, match="max_avatars_per_caller"):
        await avatars.create(ANN, SITTER, WHOLE)
    await avatars.create(BOB, SITTER, WHOLE)
    with pytest.raises(LimitError, match="limit `max_avatars`"):
        await avatars.create(BOB, SITTER, WHOLE)
    await avatars.delete(first)
    await avatars.create(BOB, SITTER, WHOLE)


async def test_a_folder_outlives_the_process_and_is_shared(
    make: Callable[..., Shelf], tmp_path: Path
) -> None:
    folder = tmp_path / "avatars"
    folder.mkdir()
    shelf = make(avatar_folder=folder)
    one, other = shelf.avatars(), shelf.avatars()
    boxed = Sitter(DRAWN, "portrait.image", FaceBox(1, 2, 300, 400), Framing.FILL)
    avatar, _ = await one.create(ANN, boxed, WHOLE)
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
    assert await find(other, ANN, avatar.avatar_id) == avatar
    with pytest.raises(AvatarNotFoundError):
        await find(other, BOB, avatar.avatar_id)
    # A day counts from the last use, by whichever.
    shelf.now_s += DAY_S - 1
    again, made = await other.prepared(avatar), await one.prepared(avatar)
    assert (again.picture == made.picture).all()
    shelf.now_s += DAY_S - 1
    assert await one.of(ANN) == await shelf.avatars().of(ANN) == [avatar]
    await other.delete(avatar)
    assert await one.of(ANN) == []
    assert not list(folder.iterdir())


async def test_files_that_are_no_avatars_are_passed_over(
    make: Callable[..., Shelf], tmp_path: Path
) -> None:
    folder = tmp_path / "avatars"
    folder.mkdir()
    (folder / "broken.json").write_text("{")
    (folder / "notes.txt").write_text("not of ours")
    shelf = make(avatar_folder=folder)
    avatar, _ = await shelf.avatars().create(ANN, SITTER, (96, SIZE))
    assert await shelf.avatars().of(ANN) == [avatar]
    # What was prepared for a size that is not offered any more is no use.
    path = folder / f"{avatar.avatar_id}.json"
    path.write_text(path.read_text().replace("96", "32"))
    assert await shelf.avatars().of(ANN) == []


@pytest.mark.parametrize("avatar_id", ["../secret", "/etc/passwd", "a\0b", ".", ""])
async def test_an_id_is_never_a_path(
    make: Callable[..., Shelf], tmp_path: Path, avatar_id: str
) -> None:
    folder = tmp_path / "avatars"
    folder.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    avatars = make(avatar_folder=folder).avatars()
    with pytest.raises(AvatarNotFoundError):
        await find(avatars, ANN, avatar_id)


async def test_a_portrait_that_is_gone_from_the_folder_is_an_avatar_not_found(
    make: Callable[..., Shelf], tmp_path: Path
) -> None:
    folder = tmp_path / "avatars"
    folder.mkdir()
    shelf = make(avatar_folder=folder)
    avatar, _ = await shelf.avatars().create(ANN, SITTER, WHOLE)
    os.remove(folder / f"{avatar.avatar_id}.portrait")
    with pytest.raises(AvatarNotFoundError):
        await shelf.avatars().prepared(avatar)
