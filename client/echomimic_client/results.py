"""What the server answers. Times are in seconds."""

import io
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from echomimic_client.audio import AudioFormat
from echomimic_client.choices import (
    FrameEncoding,
    GenerationSettings,
    IdleMode,
    Pace,
    SamplerName,
    VideoFormat,
)

FrameKind = Literal["speech", "idle", "listening"]
UtterancePhase = Literal["began", "ended"]
Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Frame:
    """A video frame."""

    index: int
    utterance_id: int
    pts_s: float
    """When it is to be shown, from the stream's start."""
    first_audio_sample: int
    """The sample of the client's own audio at which it begins."""
    width: int
    height: int
    kind: FrameKind
    encoding: FrameEncoding
    data: bytes
    key_frame: bool = True
    """Whether it can be decoded without the frames before it."""

    def to_numpy(self) -> Picture:
        """Returns the picture [height, width, 3], RGB.

        Raises:
            ValueError: it is H.264, of which `echomimic_client.pictures.FrameDecoder` takes every
                frame.
        """
        if self.encoding == "h264":
            raise ValueError("an H.264 frame is no picture by itself; use FrameDecoder")
        if self.encoding == "rgb":
            return np.frombuffer(self.data, np.uint8).reshape(self.height, self.width, 3)
        with Image.open(io.BytesIO(self.data)) as image:
            return np.asarray(image.convert("RGB"))


@dataclass(frozen=True, slots=True)
class UtteranceEvent:
    """An utterance began, before its first frame, or ended, after its last one."""

    utterance_id: int
    phase: UtterancePhase
    frame_index: int
    """Its first frame, or its last one."""
    audio_sample: int
    """Its first sample in the stream's audio, or the one after its last."""


@dataclass(frozen=True, slots=True)
class Interrupted:
    """Answers an interrupt: nothing said before it follows."""

    last_frame_index: int
    """The last frame sent; -1 if there was none."""
    next_audio_sample: int
    """The sample of the client's audio at which that frame ends."""
    last_played_frame_index: int
    """The last frame that was reported as played; where none was, the last frame sent."""
    resume_audio_sample: int
    """The sample at which that frame ends, and a `resume` would begin."""
    resumable_samples: int
    """How many samples from there on are kept; 0 means that a `resume` would be refused."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Answers a resume: what was interrupted is said again, and its frames follow."""

    utterance_id: int
    """The first utterance of it."""
    first_audio_sample: int
    """Its first sample in the stream's audio."""
    end_audio_sample: int
    """The sample after the last one that is said again."""
    lost_samples: int
    """How many were received after that and not kept: they have to be sent again."""


@dataclass(frozen=True, slots=True)
class ResumeRefused:
    """Answers a resume: nothing is said again, and the call goes on."""

    reason: str
    """A constant to compare with: NOTHING_INTERRUPTED, NEW_AUDIO or NOT_KEPT."""
    message: str


@dataclass(frozen=True, slots=True)
class Updated:
    """Answers an update: the settings in force, and the first window that is made with them.

    If the utterance ends before that window, the next utterance begins with them.
    """

    update_id: str
    generation: GenerationSettings
    utterance_id: int
    window: int
    """Its number in the utterance."""
    frame_index: int
    """Its first frame; no earlier one shows the change, if nothing is interrupted."""


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """Answers an update: nothing has changed, and the call goes on."""

    update_id: str
    reason: str
    """A constant to compare with, as INVALID_FIELD; those of errors."""
    field: str
    """The field that cannot be used, if it is one."""
    message: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a Render call is, in frames."""

    frames: int
    total_frames: int


@dataclass(frozen=True, slots=True)
class Avatar:
    """A portrait that a server has prepared, and keeps for its caller."""

    avatar_id: str
    size: tuple[int, int]
    """Width and height of the frames that it is prepared for."""
    created: datetime
    expires: datetime
    """When it is forgotten, unless it is used before."""
    warnings: tuple["ServerWarning", ...] = ()
    """What could be better about it; known to whoever created it."""


@dataclass(frozen=True, slots=True)
class ServerWarning:
    """Something is not as it should be, and the call goes on."""

    reason: str
    """A constant to compare with, as PORTRAIT_SMALL."""
    message: str


@dataclass(frozen=True, slots=True)
class BufferState:
    """How much is made that is not due yet; the contract says when that is."""

    level_s: float
    is_filling: bool
    """Whether playback waits for it to fill."""
    underruns: int
    """Frames that were due and not made, so far."""
    realtime_factor: float
    """Seconds of frames for each second that the last windows took; 0 before the first one."""


@dataclass(frozen=True, slots=True)
class StreamExpiring:
    """The stream will have to end; it is time to open another one."""

    reason: str
    """A constant to compare with: MAX_STREAM_AUDIO or SHUTTING_DOWN."""
    message: str
    remaining_s: float
    """How much more audio there may be, or how long the server waits."""


@dataclass(frozen=True, slots=True)
class AudioPosition:
    """How far the audio of a stream has got, in samples from its beginning."""

    received_samples: int
    """How many the server has received."""
    animated_samples: int
    """Where the last frame of speech sent ends; another stream has to be sent what follows."""


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a ping."""

    ping_id: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The stream is alive; nothing else was sent for a while."""


Event = (
    Frame
    | UtteranceEvent
    | Interrupted
    | Resumed
    | ResumeRefused
    | Updated
    | UpdateRefused
    | ServerWarning
    | Progress
    | BufferState
    | StreamExpiring
    | AudioPosition
    | Pong
    | Heartbeat
)
"""What a call may answer between `started` and its summary."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How the server cuts speech into windows."""

    first_window_frames: int
    window_frames: int
    overlap_frames: int
    audio_lookahead_s: float
    audio_left_context_s: float
    advised_buffer_s: float
    """How long after an utterance's first frame its playback should start."""
    ladder: tuple[int, ...]
    """Frames of one window after the other; the last number is that of all further windows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask for; the contract explains each."""

    max_message_bytes: int
    max_portrait_bytes: int
    max_portrait_pixels: int
    max_stream_audio_s: float
    max_render_audio_s: float
    max_buffered_audio_s: float
    read_timeout_s: float
    idle_timeout_s: float
    max_streams: int
    max_steps: int
    max_prompt_bytes: int
    start_timeout_s: float
    max_streams_per_caller: int
    max_waiting_utterances: int
    max_unread_answers: int
    max_waiting_updates: int
    max_buffer_s: float
    max_avatars: int
    max_avatars_per_caller: int
    avatar_lifetime_s: float
    max_resumable_audio_s: float
    max_load: float
    max_opening_calls: int
    max_opening_calls_per_caller: int
    max_speech_bytes: int


@dataclass(frozen=True, slots=True)
class Started:
    """The settings in force, defaults filled in."""

    request_id: str
    client_session_id: str
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings
    windows: Windows
    limits: Limits
    idle: IdleMode
    """What is sent while nobody speaks."""
    pace: Pace
    buffer_s: float
    """How much of an utterance is made before it is played."""
    blink_over_speech: bool
    """Whether blinks are laid over speech."""
    audio_position_interval_s: float | None
    """At most one `AudioPosition` comes in so long; None is never."""
    heartbeat_interval_s: float | None
    """After so long without another message a `Heartbeat` comes; None is never."""
    min_steps: int | None
    """The fewest steps that the server takes where it is too slow; None is those in force."""

    @property
    def frames_per_second(self) -> Fraction:
        """Frames a second."""
        return self.video_format.frame_rate


@dataclass(frozen=True, slots=True)
class Summary:
    """What a call came to, as the server measured it."""

    frames: int
    audio_samples: int
    audio_duration_s: float
    windows: int
    first_frame_latency_s: float
    """From the first audio received to the first frame of speech sent."""
    wall_time_s: float
    """From the first audio received to the last frame of speech sent."""
    realtime_factor: float
    """Seconds of frames of speech for each second of wall time."""
    playable_latency_s: float
    """From the first audio received to the moment from which playback never stalls."""
    underruns: int
    """Frames that were due and not made; counted where a pace or a buffer was stated."""
    idle_frames: int
    """Those of the frames in which it does not speak, listening ones too."""


@dataclass(frozen=True, slots=True)
class Model:
    """A network on Triton."""

    name: str
    backend: str
    precision: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of generation that a server has a use for."""

    name: str
    meaning: str
    minimum: float | None
    """None where it is no number."""
    maximum: float | None
    changes_in_stream: bool
    """Whether an update may change it."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server runs and offers; the first size is its default, as (width, height)."""

    version: str
    variant: str
    checkpoint_digest: str
    models: tuple[Model, ...]
    sizes: tuple[tuple[int, int], ...]
    frame_encodings: tuple[FrameEncoding, ...]
    samplers: tuple[SamplerName, ...]
    default_generation: GenerationSettings
    windows: Windows
    limits: Limits
    styles: dict[str, str]
    """Prompts by name."""
    free_prompts: bool
    """Whether other prompts are taken."""
    settings: tuple[Setting, ...]
    presets: dict[str, int]
    """Steps by name."""
    idle_modes: tuple[IdleMode, ...]
    """What may be sent while nobody speaks."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A finished film."""

    film: bytes
    """The file: an MP4, or what was asked for."""
    started: Started
    warnings: tuple[ServerWarning, ...]
    summary: Summary
