"""What a conversation answers, in order; every front end turns these into messages of its own.

Notice                  something is not as it should be, and the conversation goes on
UtteranceBegan          its first frame follows
Frame                   a picture with its place in the conversation and in time
UtteranceEnded          its last frame has left
Interrupted             nothing said before it follows
Resumed                 what was interrupted is said again
ResumeRefused           nothing is said again
AudioPosition           how far the audio has got
Pong                    the client has asked whether anybody is there
Heartbeat               nothing else was said for a while
BufferState             how much is made that is not due yet
Updated                 other settings are in force
UpdateRefused           settings stay as they are
"""

from collections.abc import Callable
from dataclasses import dataclass

from server.animation.defaults import GenerationSettings
from server.errors import AvatarError
from server.notices import Notice
from server.pictures.portrait import Picture


@dataclass(frozen=True, slots=True)
class UtteranceBegan:
    """Its first frame, and its first sample in the conversation's audio."""

    utterance_id: int
    frame_index: int
    audio_sample: int


@dataclass(frozen=True, slots=True)
class UtteranceEnded:
    """Its last frame, and the sample after its last in the conversation's audio."""

    utterance_id: int
    frame_index: int
    audio_sample: int


@dataclass(frozen=True, slots=True)
class Blink:
    """A blink in a frame of speech: one that is laid over it, or the model's own.

    Attributes:
        untouched: the picture as the model made it.
        later: draws it with the lids as they would be some seconds later.
    """

    untouched: Picture
    later: Callable[[float], Picture]


@dataclass(frozen=True, slots=True)
class Frame:
    """A picture, uint8 [height, width, 3].

    Attributes:
        index: in the conversation, from 0, without gaps.
        utterance_id: of the utterance, from 0.
        audio_sample: of the client's own audio, at which it begins.
        picture: what is shown.
        is_idle: whether nobody speaks. Then the utterance is the one that comes next, and the
            sample the one at which the last frame of speech ends.
        is_listening: whether the other person talks meanwhile; of idle frames.
        blink: where the eyes are seen to blink, if anybody looks.
    """

    index: int
    utterance_id: int
    audio_sample: int
    picture: Picture
    is_idle: bool = False
    is_listening: bool = False
    blink: Blink | None = None


@dataclass(frozen=True, slots=True)
class BufferState:
    """How full the buffer is; see `server.sessions.pacer`.

    Attributes:
        level_s: length of the frames that are made and not due yet.
        is_filling: whether playback waits for more of them.
        underruns: frames that were due and not made, so far.
        realtime_factor: seconds of frames for each second that the last windows took, 0 before.
    """

    level_s: float
    is_filling: bool
    underruns: int
    realtime_factor: float


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The last frame that left, -1 if none, and the sample at which it ends.

    Attributes:
        last_frame_index: that frame.
        next_audio_sample: that sample.
        last_played_frame_index: the last frame played, as far as that is known.
        resume_audio_sample: the one at which what has not been played begins.
        resumable_samples: how many samples from there on are kept to be said again.
    """

    last_frame_index: int
    next_audio_sample: int
    last_played_frame_index: int
    resume_audio_sample: int
    resumable_samples: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """What is said again, in samples of the conversation's audio.

    Attributes:
        utterance_id: of the first utterance of it.
        first_audio_sample: where it begins.
        end_audio_sample: where it ends.
        lost_samples: how many were received after it, and are not kept.
    """

    utterance_id: int
    first_audio_sample: int
    end_audio_sample: int
    lost_samples: int


@dataclass(frozen=True, slots=True)
class ResumeRefused:
    """Why nothing is said again: a constant to compare with, and the same for people."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Updated:
    """The settings in force, and the first window that is made with them.

    If nothing is interrupted, and the utterance does not end before that window, it is window
    ``window`` of the utterance, from 0, and begins with the frame ``frame_index``. If it ends
    sooner, the next utterance begins with the settings. No frame that has left shows them.
    """

    update_id: str
    generation: GenerationSettings
    utterance_id: int
    window: int
    frame_index: int


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """Why an update has changed nothing."""

    update_id: str
    error: AvatarError


@dataclass(frozen=True, slots=True)
class Expiring:
    """Why a stream will have to end, in how much more audio or time, and what to do about it."""

    reason: str
    remaining_s: float
    message: str


@dataclass(frozen=True, slots=True)
class AudioPosition:
    """How many samples were received, and where the last frame of speech that has left ends."""

    received_samples: int
    animated_samples: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a client that asks whether anybody is there, by the name that it gave."""

    ping_id: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing else was said for a while."""


Answer = Notice | Updated | UpdateRefused | Expiring | Interrupted | Resumed | ResumeRefused
"""What no interruption drops."""
Sign = AudioPosition | Pong | Heartbeat
"""What is no answer to anything said."""
Event = Answer | Sign | UtteranceBegan | Frame | UtteranceEnded | BufferState
