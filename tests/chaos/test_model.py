"""The model of the contract takes what the server does, and nothing that is forged from it."""

import asyncio
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc
from google.protobuf import duration_pb2

from tests.chaos.forgeries import FORGED_RESUMPTIONS, FORGERIES, Recorded
from tests.chaos.history import Client, Ended, History, frames
from tests.chaos.interrupts import INTERRUPT
from tests.chaos.model import violations
from tests.support.fake_engine import FakeEngine
from tests.support.serving import END, PAUSE, chunk, served, small_windows, speech, start

UPDATE = pb.AnimateRequest(
    update=pb.Update(update_id="fewer", generation=pb.GenerationSettings(steps=1))
)
RESUME = pb.AnimateRequest(resume=pb.Resume())
PLAYED = pb.AnimateRequest(played=pb.Played(last_frame_index=7))
PING = pb.AnimateRequest(ping=pb.Ping(ping_id="there?"))
EVERY = duration_pb2.Duration(nanos=200_000_000)
RATE_HZ = 44_100
SAMPLES = 20_001


def converse(address: str) -> History:
    """Says something, is answered, interrupts, and says two things more."""
    with grpc.insecure_channel(address) as channel:
        client = Client(pb_grpc.AvatarServiceStub(channel))
        opening = start(RATE_HZ, audio_position_interval=EVERY)
        client.send(opening, chunk(speech(SAMPLES).tobytes()), PAUSE, UPDATE)
        client.wait(lambda history: Recorded(history).find("utterance", 2))
        client.send(PLAYED, PING)
        client.wait(lambda history: Recorded(history).find("pong"))
        client.wait(lambda history: Recorded(history).find("audio_position"))
        client.send(chunk(speech(10 * RATE_HZ).tobytes()))
        client.wait_for_frames(20)
        client.send(INTERRUPT, chunk(speech(SAMPLES).tobytes()), PAUSE)
        client.send(chunk(speech(1).tobytes()), END)
        return client.finish()


def resume(address: str) -> History:
    """Is interrupted by mistake within the first of two utterances, and takes that back."""
    with grpc.insecure_channel(address) as channel:
        client = Client(pb_grpc.AvatarServiceStub(channel))
        client.send(start(RATE_HZ), chunk(speech(2 * RATE_HZ).tobytes()), PAUSE)
        client.send(chunk(speech(SAMPLES).tobytes()))
        client.wait_for_frames(20)
        client.send(PLAYED, INTERRUPT)
        client.wait(lambda history: Recorded(history).find("interrupted"))
        client.send(RESUME)
        client.wait(lambda history: Recorded(history).find("resumed"))
        client.send(chunk(speech(SAMPLES).tobytes()), END)
        return client.finish()


def recorded(folder: Path, plot: Callable[[str], History]) -> History:
    async def record() -> History:
        async with served(FakeEngine(), folder, small_windows()) as server:
            return await asyncio.to_thread(plot, server.address)

    return asyncio.run(record())


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> History:
    return recorded(tmp_path_factory.mktemp("model"), converse)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> History:
    return recorded(tmp_path_factory.mktemp("resumed"), resume)


def test_what_the_server_does_is_taken(genuine: History, resumed: History) -> None:
    assert violations(genuine) == []
    assert len(frames(genuine)) > 20
    assert violations(resumed) == []
    played = PLAYED.played.last_frame_index + 1
    told = Recorded(resumed).message(Recorded(resumed).at("interrupted")).interrupted
    assert told.last_frame_index >= 19
    # What was sent and not played comes again, too.
    assert len(frames(resumed)) == 50 + 23 + told.last_frame_index + 1 - played


@pytest.mark.parametrize("forge", FORGED_RESUMPTIONS, ids=lambda forge: forge.__name__)
def test_a_forged_resumption_is_refused_for_its_own_reason(
    resumed: History, forge: Callable[[Recorded], None]
) -> None:
    refused(resumed, forge, FORGED_RESUMPTIONS[forge])


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_a_forged_history_is_refused_for_its_own_reason(
    genuine: History, forge: Callable[[Recorded], None]
) -> None:
    refused(genuine, forge, FORGERIES[forge])


def refused(history: History, forge: Callable[[Recorded], None], reason: str) -> None:
    forged = Recorded(deepcopy(history))
    forge(forged)
    found = violations(forged.history)
    assert any(reason in violation for violation in found), found


def test_a_stream_that_is_broken_off_in_order_is_taken(genuine: History) -> None:
    """Whatever has come until then has to be right; what has not come is lost, not wrong."""
    whole = genuine[:-1]
    broken = Ended(0.0, "UNAVAILABLE", "ENGINE_UNAVAILABLE")
    summary = Recorded(whole).at("summary")
    for length in range(1, summary):
        assert violations([*whole[:length], broken]) == []


def test_times_are_no_matter_of_the_model(genuine: History) -> None:
    assert violations([replace(event, at_s=0.0) for event in genuine]) == []
