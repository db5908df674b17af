"""Histories that no server may leave behind, each forged from a genuine one, and what is wrong."""

from collections.abc import Callable
from copy import deepcopy

from echomimic.v1 import avatar_service_pb2 as pb

from tests.chaos.history import Ended, History, Received, Sent
from tests.chaos.interrupts import INTERRUPT
from tests.support.serving import chunk


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


def receive_less_than_before(it: Recorded) -> None:
    it.again(it.at("audio_position"), it.at("summary"))
    it.message(it.at("summary") - 1).audio_position.received_samples -= 1


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
    receive_less_than_before: "samples were received, and not",
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


def shift_a_sample_that_comes_again(it: Recorded) -> None:
    it.message(it.at("frame", 40)).frame.first_audio_sample += 1


def begin_elsewhere_again(it: Recorded) -> None:
    it.message(it.at("utterance", 2)).utterance.audio_sample += 1


def refuse_unasked(it: Recorded) -> None:
    refusal = pb.AnimateResponse(resume_refused=pb.ResumeRefused(reason="NEW_AUDIO"))
    it.history.insert(it.at("resumed"), Received(0.0, refusal))


FORGED_RESUMPTIONS: dict[Callable[[Recorded], None], str] = {
    ignore_the_resumption: "`resume` was never answered",
    resume_unasked: "`resumed` answers nothing",
    resume_elsewhere: "is resumed, and not range",
    resume_another_utterance: "utterance 0 is resumed, not 2",
    resume_what_was_never_said: "would resume what was never said",
    shift_a_sample_that_comes_again: "frame 39 begins at sample",
    begin_elsewhere_again: "utterance 2 began elsewhere",
    refuse_unasked: "`resumed` answers nothing",
}
