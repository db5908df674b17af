"""Blinks over speech, in conversations with a photograph that talks and seldom blinks."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from server.animation.blink_schedule import FORGETS_S, LEAST_APART_S
from server.animation.idle_motion import Pose
from server.errors import EngineUnavailableError
from server.manifest import NetworkEntry
from server.notices import Notice
from server.pictures.mesh import FaceMesh, find_meshes, follow_face
from server.pictures.portrait import Picture
from server.sessions.conversation import Conversation, converse
from server.sessions.events import Event, Frame
from server.sessions.eye_watch import SHUT
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from server.sessions.life import WarpLife
from server.sessions.pacer import Pace
from server.sessions.retiming import Retiming
from server.settings import Settings
from server.triton.contract import FACE_MESH, PORTRAIT_NETWORKS, Network
from tests.support import virtual_time
from tests.support.conversations import FRAME, LIMITS, job
from tests.support.fake_engine import FakeEngine
from tests.support.paths import ROOT
from tests.support.pipeline_reference import Recorder
from tests.support.serving import manifest, portrait, small_windows, speech, tokenizer
from tests.support.talking_photograph import TalkingPhotograph, photograph_file

SIDE = 256
AS_SHIPPED = small_windows(window_ladder=(9, 17, 33), overlap_frames=5, audio_lookahead_frames=5)


class Room:
    """A conversation, and what was told in it."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.told: list[Event] = []
        self._events = conversation.events()

    async def say(self, seconds: float) -> None:
        audio = speech(round(seconds * 25) * FRAME).tobytes()
        await self.conversation.push_audio(audio, field="audio")
        await self.conversation.end_utterance()

    async def take(self, frames: float = np.inf) -> list[Frame]:
        """Takes events up to some more frames, or to the end."""
        taken: list[Frame] = []
        while len(taken) < frames and (event := await anext(self._events, None)) is not None:
            self.told.append(event)
            if isinstance(event, Frame):
                taken.append(event)
        return taken

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """Takes events up to such a frame."""
        while not wanted(frame := (await self.take(1))[0]):
            pass
        return frame

    @property
    def notices(self) -> list[str]:
        return [event.reason for event in self.told if isinstance(event, Notice)]


def play(
    folder: Path,
    engine: Any,
    plot: Callable[[Room], Coroutine[Any, Any, None]],
    settings: Settings = AS_SHIPPED,
    *,
    retiming: Retiming | None = None,
    **asked: Any,
) -> Room:
    """Has a conversation, in a time that passes at once."""

    async def main() -> Room:
        entry = NetworkEntry(backend="fake", precision="fp32")
        networks = dict.fromkeys(PORTRAIT_NETWORKS, entry)
        offered = manifest().model_copy(update={"networks": networks, "sizes": ((SIDE, SIDE),)})
        gateway = Gateway(Offer(settings, offered), engine, tokenizer(folder))
        form = replace(job().video_format, width=SIDE, height=SIDE)
        form = form if retiming is None else replace(form, retiming=retiming)
        fields = {"blinks": True, "portrait": photograph_file(SIDE), "video_format": form} | asked
        now = asyncio.get_running_loop().time
        async with converse(gateway, job(**fields), LIMITS, now) as conversation:
            room = Room(conversation)
            await plot(room)
        return room

    return virtual_time.run(main())


def said(seconds: float) -> Callable[[Room], Coroutine[Any, Any, None]]:
    """Speech of so many seconds, and nothing else."""

    async def plot(room: Room) -> None:
        await room.say(seconds)
        await room.conversation.end()
        await room.take()

    return plot


def frames(room: Room) -> list[Frame]:
    return [event for event in room.told if isinstance(event, Frame)]


def made(frame: Frame) -> Picture:
    """What the model made."""
    return frame.picture if frame.blink is None else frame.blink.untouched


def difference(one: Picture, other: Picture) -> float:
    return float(np.abs(one.astype(int) - other).mean())


def runs(numbers: Iterable[int]) -> list[list[int]]:
    """Numbers in groups of such that follow each other."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups


def opened(pictures: list[Picture]) -> list[float]:
    """How far the eyes are open, as a mesh sees it that knows of no blink."""

    async def meshes() -> list[FaceMesh | None]:
        (first,) = await find_meshes(FakeEngine(), pictures[0])
        return await follow_face(FakeEngine(), pictures, first)

    found = asyncio.run(meshes())
    return [np.mean([eye.openness for eye in mesh.eyes]).item() for mesh in found if mesh]


def test_frames_off_a_blink_and_all_that_the_model_is_told_are_as_without(tmp_path: Path) -> None:
    engines = [Recorder(TalkingPhotograph(SIDE, 5)) for _ in range(2)]
    plain, blinking = (
        play(tmp_path, engine, said(9), blinks=blinks, continues=True)
        for engine, blinks in zip(engines, (False, True), strict=True)
    )
    blinks = runs(frame.index for frame in frames(blinking) if frame.blink)
    assert len(blinks) >= 2
    assert all(4 <= len(blink) <= 7 for blink in blinks)
    for before, after in zip(frames(plain), frames(blinking), strict=True):
        assert replace(before, picture=after.picture, blink=after.blink) == after
        assert np.array_equal(made(before), made(after))
        assert np.array_equal(before.picture, after.picture) == (after.blink is None)
    for network, tensor in (("vae_encoder", "known"), ("denoiser", "latents")):
        told = [engine.given(network, tensor) for engine in engines]
        assert len(told[0]) == len(told[1]) > 5
        assert all(map(np.array_equal, *told))


def test_a_mesh_sees_the_eyes_shut_where_blinks_are_laid_and_only_there(tmp_path: Path) -> None:
    room = play(tmp_path, TalkingPhotograph(SIDE, 5), said(9))
    shown = frames(room)
    blinks = runs(frame.index for frame in shown if frame.blink)
    open_as = np.array(opened([frame.picture for frame in shown]))
    shut = open_as < SHUT * np.median(open_as)
    seen = runs(np.flatnonzero(shut).tolist())
    assert len(seen) == len(blinks) == 2
    assert all(set(one) <= set(blink) for one, blink in zip(seen, blinks, strict=True))
    # Down faster than up: they are shut in the first half.
    for first, *others in blinks:
        lowest = first + int(np.argmin(open_as[first : others[-1] + 1]))
        assert lowest - first <= len(others) / 2


def test_where_the_model_blinks_none_is_laid_over_it(tmp_path: Path) -> None:
    own = {n for begin in range(20, 400, 55) for n in range(begin, begin + 5)}
    room = play(tmp_path, TalkingPhotograph(SIDE, 5, own), said(14))
    plain = play(tmp_path, TalkingPhotograph(SIDE, 5, own), said(14), blinks=False)
    for before, after in zip(frames(plain), frames(room), strict=True):
        assert np.array_equal(before.picture, after.picture)
    seen = {frame.index for frame in frames(room) if frame.blink}
    assert seen
    assert seen <= own


@pytest.mark.parametrize(
    "retiming", [Retiming(Fraction(15)), Retiming(Fraction(30_000, 1001), blends=True)]
)
def test_at_other_rates_blinks_take_as_long(tmp_path: Path, retiming: Retiming) -> None:
    plain, room = (
        play(tmp_path, TalkingPhotograph(SIDE, 5), said(12), retiming=retiming, blinks=blinks)
        for blinks in (False, True)
    )
    blinks = runs(frame.index for frame in frames(room) if frame.blink)
    assert len(blinks) >= 2
    for blink in blinks:
        assert 0.1 <= len(blink) / retiming.frame_rate <= 0.3
    for before, after in zip(frames(plain), frames(room), strict=True):
        assert np.array_equal(before.picture, made(after))


def test_windows_shorter_than_a_blink_have_whole_ones_as_well(tmp_path: Path) -> None:
    short = small_windows(window_ladder=(5,))
    room = play(tmp_path, TalkingPhotograph(SIDE, 2), said(9), short)
    blinks = runs(frame.index for frame in frames(room) if frame.blink)
    assert len(blinks) == 2
    assert all(4 <= len(blink) <= 7 for blink in blinks)


def test_an_utterance_ends_with_open_eyes_and_begins_with_them(tmp_path: Path) -> None:
    async def plot(room: Room) -> None:
        for _ in range(12):
            await room.say(1.2)
        await room.conversation.end()
        await room.take()

    shown = frames(play(tmp_path, TalkingPhotograph(SIDE, 5), plot))
    assert any(frame.blink for frame in shown)
    for utterance in range(12):
        of = [frame.blink for frame in shown if frame.utterance_id == utterance]
        assert of[:6] == [None] * 6
        whole = runs(n for n, blink in enumerate(of) if blink)
        assert all(4 <= len(blink) <= 7 for blink in whole)
    begins = [blink[0] for blink in runs(frame.index for frame in shown if frame.blink)]
    assert min(np.diff(begins)) / 25 > FORGETS_S - 0.05


def test_neither_speech_nor_idle_blinks_just_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle: list[int] = []
    pose = WarpLife.pose

    def noted(life: WarpLife, at_s: float, since_s: float, **told: bool) -> Pose:
        drawn = pose(life, at_s, since_s, **told)
        idle.extend([round(25 * at_s)] if drawn.closure else [])
        return drawn

    monkeypatch.setattr(WarpLife, "pose", noted)

    async def plot(room: Room) -> None:
        for _ in range(8):
            await room.say(2.2)
            await room.take(100)

    room = play(tmp_path, TalkingPhotograph(SIDE, 5), plot, idle="warp")
    spoken = [frame.index for frame in frames(room) if frame.blink]
    blinks = [blink[0] for blink in runs(sorted([*idle, *spoken]))]
    kinds = [begin in spoken for begin in blinks]
    assert len(blinks) >= 6
    assert {*pairwise(kinds)} >= {(True, False), (False, True)}
    assert min(np.diff(blinks)) / 25 > LEAST_APART_S - 0.05


def test_an_interruption_within_a_blink_opens_the_eyes(tmp_path: Path) -> None:
    async def plot(room: Room) -> None:
        await room.say(12)
        first = await room.until(lambda frame: frame.blink is not None)
        frame = (await room.take(1))[0]
        assert frame.index == first.index + 1
        room.conversation.interrupt()
        await room.take(40)

    room = play(tmp_path, TalkingPhotograph(SIDE, 5), plot, idle="warp")
    shown = frames(room)
    last = max(frame.index for frame in shown if not frame.is_idle)
    open_as = opened([frame.picture for frame in shown[last - 2 : last + 30]])
    usual, shut, after = open_as[0], open_as[2], np.array(open_as[3:])
    assert shut < SHUT * usual
    # The blink goes on to its end, and that is all.
    assert (after[8:] > 0.75 * usual).all()
    steps = [difference(a.picture, b.picture) for a, b in pairwise(shown)]
    assert max(steps[last : last + 25]) < 2 * max(steps[: last - 3])


def test_without_idle_what_follows_an_interruption_begins_with_the_model_s_picture(
    tmp_path: Path,
) -> None:
    engine = Recorder(TalkingPhotograph(SIDE, 5))
    last: list[Frame] = []

    async def plot(room: Room) -> None:
        await room.say(12)
        last.append(await room.until(lambda frame: frame.blink is not None))
        room.conversation.interrupt()
        await room.say(2)
        await room.take(40)

    play(tmp_path, engine, plot, continues=True)
    begins = [known for known in engine.given("vae_encoder", "known") if known.shape[1] == 1]
    assert np.array_equal(begins[-1][0, 0], made(last[0]))
    assert not np.array_equal(begins[-1][0, 0], last[0].picture)


def test_dropped_blinks_do_not_count(tmp_path: Path) -> None:
    async def plot(room: Room) -> None:
        await room.say(12)
        await room.take(2)
        room.conversation.interrupt()
        await room.say(12)
        await room.conversation.end()
        await room.take()

    room = play(tmp_path, TalkingPhotograph(SIDE, 5), plot)
    blinks = runs(frame.index for frame in frames(room) if frame.blink)
    assert len(blinks) >= 2
    assert blinks[0][0] < 7 * 25


def test_paced_speech_blinks_as_well(tmp_path: Path) -> None:
    pace = Pace(is_realtime=True, buffer_s=1.0, is_told=False)
    room = play(tmp_path, TalkingPhotograph(SIDE, 5), said(9), pace=pace, idle="warp")
    spoken = [frame for frame in frames(room) if not frame.is_idle]
    assert len(runs(frame.index for frame in spoken if frame.blink)) == 2


def test_a_picture_without_a_face_is_told_and_speech_goes_on(tmp_path: Path) -> None:
    form = replace(job().video_format, width=SIDE, height=SIDE)
    asked: dict[str, Any] = {"portrait": portrait(), "video_format": form}
    plain, room = (
        play(tmp_path, FakeEngine(), said(9), blinks=blinks, **asked) for blinks in (False, True)
    )
    assert room.notices == ["FACE_NOT_FOUND", "BLINK_FACE_NOT_FOUND"]
    for before, after in zip(frames(plain), frames(room), strict=True):
        assert after.blink is None
        assert np.array_equal(before.picture, after.picture)


def test_large_drawn_eyes_are_told_and_speech_goes_on(tmp_path: Path) -> None:
    class Drawn(FakeEngine):
        drawn = Image.open(ROOT / "docs" / "media" / "portrait.png").convert("RGB")
        picture = np.asarray(drawn.resize((SIDE, SIDE)))

        async def run(self, network: Network, *args: Any, **more: Any) -> Any:
            results = await super().run(network, *args, **more)
            if network.name == "vae_decoder":
                results["frames"] = np.broadcast_to(self.picture, results["frames"].shape).copy()
            return results

    room = play(tmp_path, Drawn(), said(9))
    assert room.notices == ["BLINK_EYES_NOT_MOVED"]
    assert len(frames(room)) == 225
    assert not any(frame.blink for frame in frames(room))


def test_where_the_mesh_fails_speech_goes_on_and_the_blink_ends(tmp_path: Path) -> None:
    class Failing(TalkingPhotograph):
        looks = 0

        async def run(self, network: Network, *args: Any, **more: Any) -> Any:
            if network is FACE_MESH:
                self.looks += 1
                if self.looks > 8:
                    raise EngineUnavailableError("face_mesh", "gone")
            return await super().run(network, *args, **more)

    engine = Failing(SIDE, 5)

    async def plot(room: Room) -> None:
        for _ in range(2):
            await room.say(9)
        await room.conversation.end()
        await room.take()

    room = play(tmp_path, engine, plot)
    assert len(frames(room)) == 450
    assert room.notices == ["BLINK_MESH_FAILED"]
    assert not any(frame.blink for frame in frames(room)[100:])
