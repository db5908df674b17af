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

from tests.chaos.history import Client, Ended, History, Received, Sent, frames
from tests.chaos.model import violations
from tests.support.fake_engine import FakeEngine
from tests.support.serving import END, PAUSE, chunk, served, small_windows, speech, start

INTERRUPT = pb.AnimateRequest(interrupt=pb.Interrupt())
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


class Recorded:
    """Finds its way in a history."""

    def __init__(self, history: History) -> None:
        self.history = history

    def find(self, kind: str, count: int = 1) -> int | None:
        """Returns where an answer of a kind is, the first or a later one."""
        found = [place for place, event in enumerate(self.history) if answer(event) == kind]
        return found[count - 1] if len(found) >= count else None

    def at(self, kind: str, count: int = 1) -> int:
        place = self.find(kind, count)
        assert place is not None
        return place

    def sent(self, kind: str, count: int = 1) -> int:
        found = [
            place
            for place, event in enumerate(self.history)
            if isinstance(event, Sent) and event.message.WhichOneof("message") == kind
        ]
        return found[count - 1]

    def message(self, place: int) -> pb.AnimateResponse:
        event = self.history[place]
        assert isinstance(event, Received)
        return event.message

    def move(self, place: int, to: int) -> None:
        self.history.insert(to, self.history.pop(place))

    def again(self, place: int, to: int) -> None:
        self.history.insert(to, deepcopy(self.history[place]))


def answer(event: Sent | Received | Ended) -> str | None:
    return event.message.WhichOneof("message") if isinstance(event, Received) else None


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


def lose_a_frame(it: Recorded) -> None:
    del it.history[it.at("frame", 5)]


def double_a_frame(it: Recorded) -> None:
    it.again(it.at("frame", 5), it.at("frame", 6))


def swap_two_frames(it: Recorded) -> None:
    it.move(it.at("frame", 5), it.at("frame", 6))


def shift_a_time(it: Recorded) -> None:
    it.message(it.at("frame", 5)).frame.presentation_time.nanos += 1


def shift_a_sample(it: Recorded) -> None:
    it.message(it.at("frame", 5)).frame.first_audio_sample += 1


def show_what_was_not_said(it: Recorded) -> None:
    it.move(it.sent("audio", 1), it.at("frame", 2))
    it.history.insert(it.at("started"), Sent(0.0, chunk(bytes(2))))


def call_a_frame_idle(it: Recorded) -> None:
    it.message(it.at("frame", 5)).frame.kind = pb.FRAME_KIND_IDLE


def change_the_utterance(it: Recorded) -> None:
    it.message(it.at("frame", 5)).frame.utterance_id = 1


def send_a_stale_frame(it: Recorded) -> None:
    place = it.at("interrupted")
    # What comes right before it may be something that the client has sent.
    last = max(n for n in range(place) if answer(it.history[n]) == "frame")
    it.move(last, place)


def begin_an_interrupted_utterance(it: Recorded) -> None:
    it.again(it.at("utterance", 3), it.at("interrupted") + 1)


def begin_before_the_end(it: Recorded) -> None:
    del it.history[it.at("utterance", 2)]


def begin_twice(it: Recorded) -> None:
    it.again(it.at("utterance", 1), it.at("frame", 2))


def begin_elsewhere(it: Recorded) -> None:
    it.message(it.at("utterance", 1)).utterance.audio_sample += 1


def begin_unsaid(it: Recorded) -> None:
    it.message(it.at("utterance", 1)).utterance.utterance_id = 9


def end_early(it: Recorded) -> None:
    it.move(it.at("utterance", 2), it.at("frame", 3))


def end_while_it_is_said(it: Recorded) -> None:
    it.move(it.sent("end_of_utterance", 1), it.at("utterance", 2))


def end_elsewhere(it: Recorded) -> None:
    it.message(it.at("utterance", 2)).utterance.frame_index -= 1


def end_what_is_not_under_way(it: Recorded) -> None:
    it.again(it.at("utterance", 2), it.at("utterance", 2) + 1)


def leave_the_last_utterance_open(it: Recorded) -> None:
    del it.history[it.at("summary") - 1]


def interrupt_unasked(it: Recorded) -> None:
    it.again(it.at("interrupted"), it.at("interrupted"))


def ignore_the_interruption(it: Recorded) -> None:
    it.history.insert(it.at("summary"), Sent(0.0, INTERRUPT))


def interrupt_elsewhere(it: Recorded) -> None:
    it.message(it.at("interrupted")).interrupted.last_frame_index -= 1


def play_another_frame(it: Recorded) -> None:
    it.message(it.at("interrupted")).interrupted.last_played_frame_index += 1


def ignore_the_ping(it: Recorded) -> None:
    del it.history[it.at("pong")]


def answer_another_ping(it: Recorded) -> None:
    it.message(it.at("pong")).pong.ping_id = "here?"


def receive_what_was_not_sent(it: Recorded) -> None:
    it.message(it.at("audio_position")).audio_position.received_samples += 10**6


def animate_what_was_not_shown(it: Recorded) -> None:
    it.message(it.at("audio_position")).audio_position.animated_samples += 1


def ignore_the_update(it: Recorded) -> None:
    del it.history[it.at("updated")]


def answer_another_update(it: Recorded) -> None:
    it.message(it.at("updated")).updated.update_id = "more"


def start_late(it: Recorded) -> None:
    it.move(it.at("started"), it.at("frame"))


def start_twice(it: Recorded) -> None:
    it.again(it.at("started"), it.at("frame"))


def sum_up_twice(it: Recorded) -> None:
    it.again(it.at("summary"), it.at("summary"))


def go_on_after_the_summary(it: Recorded) -> None:
    it.move(it.at("frame", 5), it.at("summary"))


def go_on_after_the_status(it: Recorded) -> None:
    it.move(it.at("summary"), len(it.history) - 1)


def miscount(it: Recorded) -> None:
    it.message(it.at("summary")).summary.frames += 1


def sum_up_nothing(it: Recorded) -> None:
    del it.history[it.at("summary")]


def fail_after_the_summary(it: Recorded) -> None:
    it.history[-1] = Ended(0.0, "UNAVAILABLE", "ENGINE_UNAVAILABLE")


def fail_unforeseen(it: Recorded) -> None:
    sum_up_nothing(it)
    it.history[-1] = Ended(0.0, "INTERNAL", "INTERNAL")


def fail_without_a_reason(it: Recorded) -> None:
    sum_up_nothing(it)
    it.history[-1] = Ended(0.0, "RESOURCE_EXHAUSTED")


def end_twice(it: Recorded) -> None:
    it.history.append(it.history[-1])


def never_end(it: Recorded) -> None:
    del it.history[-1]


FORGERIES: dict[Callable[[Recorded], None], str] = {
    lose_a_frame: "frame 5 comes where 4 is next",
    double_a_frame: "frame 4 comes where 5 is next",
    swap_two_frames: "frame 5 comes where 4 is next",
    shift_a_time: "frame 4 has another time",
    shift_a_sample: "frame 4 begins at sample 7057, not 7056",
    show_what_was_not_said: "shows speech that was not sent",
    call_a_frame_idle: "idle frame 4 is inside utterance 0",
    change_the_utterance: "frame 4 is of utterance 1, not under way",
    send_a_stale_frame: "is of utterance 1, not under way",
    begin_an_interrupted_utterance: "utterance 1 began after it was interrupted",
    begin_before_the_end: "utterance 1 began before the one before it ended",
    begin_twice: "utterance 0 began twice",
    begin_elsewhere: "utterance 0 began elsewhere",
    begin_unsaid: "utterance 9 was not said",
    end_early: "utterance 0 ended after",
    end_while_it_is_said: "utterance 0 ended while it was said",
    end_elsewhere: "utterance 0 ended elsewhere",
    end_what_is_not_under_way: "utterance 0 ended and was not under way",
    leave_the_last_utterance_open: "utterance 3 never ended",
    interrupt_unasked: "`interrupted` answers nothing",
    ignore_the_interruption: "an interruption was never answered",
    interrupt_elsewhere: "`interrupted` names frame and sample",
    play_another_frame: "frame 8 as played, and 7 was",
    ignore_the_ping: "ping 'there?' was never answered",
    answer_another_ping: "ping 'here?' is answered out of turn",
    receive_what_was_not_sent: "samples were received, and not",
    animate_what_was_not_shown: "was animated, and not",
    ignore_the_update: "update 'fewer' was never answered",
    answer_another_update: "update 'more' is answered out of turn",
    start_late: "`started` is the first, once",
    start_twice: "`started` is the first, once",
    sum_up_twice: "`summary` follows the summary",
    go_on_after_the_summary: "`frame` follows the summary",
    go_on_after_the_status: "`summary` follows the status OK",
    miscount: "the summary counts",
    sum_up_nothing: "the call ended as OK with no summary",
    fail_after_the_summary: "the call ended as UNAVAILABLE with a summary",
    fail_unforeseen: "the call ended as INTERNAL",
    fail_without_a_reason: "RESOURCE_EXHAUSTED has no reason",
    end_twice: "a second status",
    never_end: "the call never ended",
}


def ignore_the_resumption(it: Recorded) -> None:
    del it.history[it.at("resumed")]


def resume_unasked(it: Recorded) -> None:
    it.again(it.at("resumed"), it.at("resumed"))


def resume_elsewhere(it: Recorded) -> None:
    it.message(it.at("resumed")).resumed.first_audio_sample += 1


def resume_another_utterance(it: Recorded) -> None:
    it.message(it.at("resumed")).resumed.utterance_id = 0


def resume_what_was_never_said(it: Recorded) -> None:
    it.message(it.at("interrupted")).interrupted.resumable_samples += 10**6


def lose_a_frame_that_comes_again(it: Recorded) -> None:
    del it.history[it.at("frame", 40)]


FORGED_RESUMPTIONS: dict[Callable[[Recorded], None], str] = {
    ignore_the_resumption: "`resume` was never answered",
    resume_unasked: "`resumed` answers nothing",
    resume_elsewhere: "is resumed, and not range",
    resume_another_utterance: "utterance 0 is resumed, not 2",
    resume_what_was_never_said: "would resume what was never said",
    lose_a_frame_that_comes_again: "comes where 39 is next",
}


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
