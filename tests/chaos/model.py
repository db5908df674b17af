"""The contract of an Animate stream as a model that reads a client's history.

The model knows what the client has said, and from that which frames there may be, with which
numbers, time stamps and samples, and which answers. Whatever it did not expect is a violation. Who
sends `resume` has to wait for its answer before anything else is said.
"""

from dataclasses import dataclass
from fractions import Fraction

from echomimic.v1 import avatar_service_pb2 as pb

from server.audio.clock import Clock, presentation_time_ns
from tests.chaos.history import Ended, History, Received, Sent

SAMPLE_BYTES = {pb.AUDIO_ENCODING_PCM_S16LE: 2, pb.AUDIO_ENCODING_PCM_F32LE: 4}
WITHOUT_REASON = {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"}
"""Codes that gRPC gives itself, as where the connection is gone."""
NEVER = {"UNKNOWN", "INTERNAL", "DATA_LOSS"}


def violations(history: History) -> list[str]:
    """Returns what in a client's history is against the contract, in sentences."""
    model = _Model()
    for event in history:
        match event:
            case Sent():
                model.sent(event.message)
            case Received():
                model.received(event.message)
            case Ended():
                model.ended(event)
    model.over()
    return model.found


@dataclass(slots=True)
class _Utterance:
    """What the client has said without a break, and what has come of it."""

    first_sample: int
    samples: int = 0
    is_over: bool = False
    is_interrupted: bool = False
    frames: int = 0
    has_begun: bool = False
    has_ended: bool = False


class _Model:
    def __init__(self) -> None:
        self.found: list[str] = []
        self._said: list[_Utterance] = []
        self._samples = 0
        self._sample_bytes = 2
        self._clock = Clock(1)
        self._interrupts: list[tuple[int, int | None]] = []
        """For each that has no answer, how many utterances had been begun before it, and the last
        frame reported as played."""
        self._played: int | None = None
        self._dropped = 0
        """Utterances of which nothing may come any more."""
        self._resumes = 0
        """Without an answer."""
        self._resumable = range(0)
        """The samples that the last interruption's answer has named."""
        self._updates: list[str] = []
        self._pings: list[str] = []
        self._received_samples = 0
        """As the server has told."""
        self._answers = 0
        self._frames = self._idle_frames = 0
        self._next_sample = 0
        self._speaking: int | None = None
        """The utterance that has begun to come and not ended."""
        self._summary = False
        self._status: Ended | None = None

    def sent(self, message: pb.AnimateRequest) -> None:
        match message.WhichOneof("message"):
            case "start":
                stated = message.start.audio_format
                self._sample_bytes = SAMPLE_BYTES[stated.encoding] * (stated.channels or 1)
                self._clock = Clock(stated.sample_rate_hz)
            case "audio":
                if not self._said or self._said[-1].is_over or self._said[-1].is_interrupted:
                    self._said.append(_Utterance(self._samples))
                samples = len(message.audio.data) // self._sample_bytes
                self._said[-1].samples += samples
                self._samples += samples
            case "end_of_utterance" | "end":
                if self._said and not self._said[-1].is_interrupted:
                    self._said[-1].is_over = True
            case "interrupt":
                self._interrupts.append((len(self._said), self._played))
                for utterance in self._said:
                    utterance.is_interrupted = not utterance.has_ended
            case "update":
                self._updates.append(message.update.update_id)
            case "resume":
                self._resumes += 1
            case "ping":
                self._pings.append(message.ping.ping_id)
            case "played":
                self._played = message.played.last_frame_index
            case _:
                return

    def received(self, message: pb.AnimateResponse) -> None:
        kind = message.WhichOneof("message") or "nothing"
        if self._status:
            self._violated(f"`{kind}` follows the status {self._status.code}")
        if self._summary:
            self._violated(f"`{kind}` follows the summary")
        if (kind == "started") != (self._answers == 0):
            self._violated(f"answer {self._answers} is `{kind}`: `started` is the first, once")
        self._answers += 1
        match kind:
            case "started":
                stated = message.started.video_format
                rate = Fraction(stated.frames_per_second, stated.frames_per_second_denominator or 1)
                self._clock = Clock(self._clock.sample_rate_hz, rate)
            case "frame":
                self._frame(message.frame)
            case "utterance":
                self._utterance(message.utterance)
            case "interrupted":
                self._interrupted(message.interrupted)
            case "updated":
                self._update_answered(message.updated.update_id)
            case "update_refused":
                self._update_answered(message.update_refused.update_id)
            case "resumed":
                self._resumed(message.resumed)
            case "resume_refused":
                self._resume_answered("resume_refused")
            case "pong":
                self._pong(message.pong.ping_id)
            case "audio_position":
                self._position(message.audio_position)
            case "summary":
                self._summarised(message.summary)
            case _:
                return

    def ended(self, status: Ended) -> None:
        if self._status:
            self._violated(f"a second status, {status.code}")
        self._status = status
        if status.code in NEVER:
            self._violated(f"the call ended as {status.code}")
        elif not status.reason and status.code not in WITHOUT_REASON:
            self._violated(f"{status.code} has no reason")
        if (status.code == "OK") != self._summary:
            summary = "a" if self._summary else "no"
            self._violated(f"the call ended as {status.code} with {summary} summary")

    def over(self) -> None:
        if self._status is None:
            self._violated("the call never ended")
        elif self._status.code == "OK":
            self._complete()

    def _complete(self) -> None:
        for number, utterance in enumerate(self._said):
            if not utterance.is_interrupted and not utterance.has_ended:
                self._violated(f"utterance {number} never ended")
        if self._updates:
            self._violated(f"update {self._updates[0]!r} was never answered")
        if self._interrupts:
            self._violated("an interruption was never answered")
        if self._resumes:
            self._violated("`resume` was never answered")
        if self._pings:
            self._violated(f"ping {self._pings[0]!r} was never answered")

    def _frame(self, frame: pb.Frame) -> None:
        if frame.index != self._frames:
            self._violated(f"frame {frame.index} comes where {self._frames} is next")
        self._frames = frame.index + 1
        time_ns = presentation_time_ns(frame.index, self._clock.frame_rate)
        if frame.presentation_time.ToNanoseconds() != time_ns:
            self._violated(f"frame {frame.index} has another time than {time_ns} ns")
        if frame.kind != pb.FRAME_KIND_SPEECH:
            self._idle_frame(frame)
        elif frame.utterance_id != self._speaking:
            number = frame.utterance_id
            self._violated(f"frame {frame.index} is of utterance {number}, not under way")
        else:
            self._spoken_frame(frame, self._said[frame.utterance_id])

    def _idle_frame(self, frame: pb.Frame) -> None:
        self._idle_frames += 1
        if self._speaking is not None:
            self._violated(f"idle frame {frame.index} is inside utterance {self._speaking}")
        self._sample_is(frame, self._next_sample)

    def _spoken_frame(self, frame: pb.Frame, utterance: _Utterance) -> None:
        if utterance.frames >= self._clock.frame_count(utterance.samples):
            self._violated(f"frame {frame.index} shows speech that was not sent")
        self._sample_is(frame, self._sample_of(utterance, utterance.frames))
        utterance.frames += 1
        self._next_sample = self._sample_of(utterance, utterance.frames)

    def _sample_of(self, utterance: _Utterance, frame: int) -> int:
        return utterance.first_sample + min(utterance.samples, self._clock.first_sample(frame))

    def _sample_is(self, frame: pb.Frame, sample: int) -> None:
        if frame.first_audio_sample != sample:
            self._violated(
                f"frame {frame.index} begins at sample {frame.first_audio_sample}, not {sample}"
            )

    def _utterance(self, event: pb.UtteranceEvent) -> None:
        number = event.utterance_id
        if number >= len(self._said):
            self._violated(f"utterance {number} was not said")
        elif event.phase == pb.UTTERANCE_PHASE_BEGAN:
            self._began(event, self._said[number])
        else:
            self._ended(event, self._said[number])

    def _began(self, event: pb.UtteranceEvent, utterance: _Utterance) -> None:
        number = event.utterance_id
        if self._speaking is not None:
            self._violated(f"utterance {number} began within utterance {self._speaking}")
        if utterance.has_begun:
            self._violated(f"utterance {number} began twice")
        if number < self._dropped:
            self._violated(f"utterance {number} began after it was interrupted")
        elif any(not each.has_ended for each in self._said[self._dropped : number]):
            self._violated(f"utterance {number} began before the one before it ended")
        if (event.frame_index, event.audio_sample) != (self._frames, utterance.first_sample):
            self._violated(f"utterance {number} began elsewhere than at its first frame and sample")
        utterance.has_begun = True
        self._speaking = number

    def _ended(self, event: pb.UtteranceEvent, utterance: _Utterance) -> None:
        number = event.utterance_id
        if number != self._speaking:
            self._violated(f"utterance {number} ended and was not under way")
        if not (utterance.is_over or utterance.is_interrupted):
            self._violated(f"utterance {number} ended while it was said")
        if utterance.frames != self._clock.frame_count(utterance.samples):
            self._violated(f"utterance {number} ended after {utterance.frames} frames")
        ends = (self._frames - 1, utterance.first_sample + utterance.samples)
        if (event.frame_index, event.audio_sample) != ends:
            self._violated(f"utterance {number} ended elsewhere than at its last frame and sample")
        utterance.has_ended = True
        self._speaking = None

    def _interrupted(self, answer: pb.Interrupted) -> None:
        if not self._interrupts:
            self._violated("`interrupted` answers nothing")
            return
        self._dropped, reported = self._interrupts.pop(0)
        self._speaking = None
        played = answer.last_frame_index if reported is None else reported
        if answer.last_played_frame_index != played:
            problem = f"frame {answer.last_played_frame_index} as played, and {played} was"
            self._violated(f"`interrupted` names {problem}")
        begins = answer.resume_audio_sample
        self._resumable = range(begins, begins + answer.resumable_samples)
        if self._resumable.stop > self._samples:
            self._violated(f"`interrupted` would resume what was never said: {self._resumable}")
        at = (answer.last_frame_index, answer.next_audio_sample)
        if at != (self._frames - 1, self._next_sample):
            self._violated(f"`interrupted` names frame and sample {at}, which were not the last")

    def _update_answered(self, update_id: str) -> None:
        if not self._updates or self._updates.pop(0) != update_id:
            self._violated(f"update {update_id!r} is answered out of turn")

    def _resume_answered(self, kind: str) -> None:
        if not self._resumes:
            self._violated(f"`{kind}` answers nothing")
        self._resumes -= 1

    def _resumed(self, answer: pb.Resumed) -> None:
        self._resume_answered("resumed")
        if answer.utterance_id != len(self._said):
            self._violated(f"utterance {answer.utterance_id} is resumed, not {len(self._said)}")
        again = range(answer.first_audio_sample, answer.end_audio_sample)
        if again != self._resumable:
            self._violated(f"{again} is resumed, and not {self._resumable}")
        self._said += self._resumable_utterances()
        if answer.lost_samples:
            # What is sent next has another place in the audio.
            self._said[-1].is_over = True
        self._resumable = range(0)

    def _resumable_utterances(self) -> list[_Utterance]:
        """Returns what is said again, in utterances as before."""
        again: list[_Utterance] = []
        for utterance in reversed(self._said[: self._dropped]):
            ends = min(utterance.first_sample + utterance.samples, self._resumable.stop)
            begins = max(utterance.first_sample, self._resumable.start)
            if begins < ends:
                again.insert(0, _Utterance(begins, ends - begins, is_over=utterance.is_over))
            if begins == self._resumable.start:
                break
        return again

    def _pong(self, ping_id: str) -> None:
        if not self._pings or self._pings.pop(0) != ping_id:
            self._violated(f"ping {ping_id!r} is answered out of turn")

    def _position(self, position: pb.AudioPosition) -> None:
        received = position.received_samples
        if not self._received_samples <= received <= self._samples:
            least, most = self._received_samples, self._samples
            self._violated(f"{received} samples were received, and not {least} to {most}")
        self._received_samples = received
        if position.animated_samples != self._next_sample:
            animated = position.animated_samples
            self._violated(f"sample {animated} was animated, and not {self._next_sample}")

    def _summarised(self, summary: pb.Summary) -> None:
        self._summary = True
        counted = (summary.frames, summary.idle_frames, summary.audio_samples)
        seen = (self._frames, self._idle_frames, self._samples)
        if counted != seen:
            self._violated(f"the summary counts {counted}, and there were {seen}")

    def _violated(self, problem: str) -> None:
        self.found.append(problem)
