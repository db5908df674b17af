import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class IdleMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDLE_MODE_UNSPECIFIED: _ClassVar[IdleMode]
    IDLE_MODE_STILL: _ClassVar[IdleMode]
    IDLE_MODE_WARP: _ClassVar[IdleMode]
    IDLE_MODE_MODEL: _ClassVar[IdleMode]

class Pace(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACE_UNSPECIFIED: _ClassVar[Pace]
    PACE_AS_FAST_AS_POSSIBLE: _ClassVar[Pace]
    PACE_REALTIME: _ClassVar[Pace]

class PortraitFraming(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PORTRAIT_FRAMING_UNSPECIFIED: _ClassVar[PortraitFraming]
    PORTRAIT_FRAMING_HEAD_AND_SHOULDERS: _ClassVar[PortraitFraming]

class AudioEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIO_ENCODING_UNSPECIFIED: _ClassVar[AudioEncoding]
    AUDIO_ENCODING_PCM_S16LE: _ClassVar[AudioEncoding]
    AUDIO_ENCODING_PCM_F32LE: _ClassVar[AudioEncoding]

class FrameEncoding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_ENCODING_UNSPECIFIED: _ClassVar[FrameEncoding]
    FRAME_ENCODING_JPEG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_PNG: _ClassVar[FrameEncoding]
    FRAME_ENCODING_RGB: _ClassVar[FrameEncoding]
    FRAME_ENCODING_WEBP: _ClassVar[FrameEncoding]
    FRAME_ENCODING_H264: _ClassVar[FrameEncoding]

class TeaCachePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEA_CACHE_POLICY_UNSPECIFIED: _ClassVar[TeaCachePolicy]
    TEA_CACHE_POLICY_EXACT_BRANCHES: _ClassVar[TeaCachePolicy]
    TEA_CACHE_POLICY_UPSTREAM: _ClassVar[TeaCachePolicy]

class Sampler(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLER_UNSPECIFIED: _ClassVar[Sampler]
    SAMPLER_FLOW_UNIPC: _ClassVar[Sampler]
    SAMPLER_FLOW_EULER: _ClassVar[Sampler]
    SAMPLER_FLOW_DPMPP: _ClassVar[Sampler]

class FrameKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FRAME_KIND_UNSPECIFIED: _ClassVar[FrameKind]
    FRAME_KIND_SPEECH: _ClassVar[FrameKind]
    FRAME_KIND_IDLE: _ClassVar[FrameKind]
    FRAME_KIND_LISTENING: _ClassVar[FrameKind]

class UtterancePhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UTTERANCE_PHASE_UNSPECIFIED: _ClassVar[UtterancePhase]
    UTTERANCE_PHASE_BEGAN: _ClassVar[UtterancePhase]
    UTTERANCE_PHASE_ENDED: _ClassVar[UtterancePhase]

class RenderOutput(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RENDER_OUTPUT_UNSPECIFIED: _ClassVar[RenderOutput]
    RENDER_OUTPUT_MP4: _ClassVar[RenderOutput]
    RENDER_OUTPUT_FRAMES: _ClassVar[RenderOutput]
    RENDER_OUTPUT_FRAGMENTED_MP4: _ClassVar[RenderOutput]
    RENDER_OUTPUT_WEBM: _ClassVar[RenderOutput]
    RENDER_OUTPUT_GIF: _ClassVar[RenderOutput]

class CheckOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHECK_OUTCOME_UNSPECIFIED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_PASSED: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_WARNING: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_ERROR: _ClassVar[CheckOutcome]
    CHECK_OUTCOME_NOT_CHECKED: _ClassVar[CheckOutcome]
IDLE_MODE_UNSPECIFIED: IdleMode
IDLE_MODE_STILL: IdleMode
IDLE_MODE_WARP: IdleMode
IDLE_MODE_MODEL: IdleMode
PACE_UNSPECIFIED: Pace
PACE_AS_FAST_AS_POSSIBLE: Pace
PACE_REALTIME: Pace
PORTRAIT_FRAMING_UNSPECIFIED: PortraitFraming
PORTRAIT_FRAMING_HEAD_AND_SHOULDERS: PortraitFraming
AUDIO_ENCODING_UNSPECIFIED: AudioEncoding
AUDIO_ENCODING_PCM_S16LE: AudioEncoding
AUDIO_ENCODING_PCM_F32LE: AudioEncoding
FRAME_ENCODING_UNSPECIFIED: FrameEncoding
FRAME_ENCODING_JPEG: FrameEncoding
FRAME_ENCODING_PNG: FrameEncoding
FRAME_ENCODING_RGB: FrameEncoding
FRAME_ENCODING_WEBP: FrameEncoding
FRAME_ENCODING_H264: FrameEncoding
TEA_CACHE_POLICY_UNSPECIFIED: TeaCachePolicy
TEA_CACHE_POLICY_EXACT_BRANCHES: TeaCachePolicy
TEA_CACHE_POLICY_UPSTREAM: TeaCachePolicy
SAMPLER_UNSPECIFIED: Sampler
SAMPLER_FLOW_UNIPC: Sampler
SAMPLER_FLOW_EULER: Sampler
SAMPLER_FLOW_DPMPP: Sampler
FRAME_KIND_UNSPECIFIED: FrameKind
FRAME_KIND_SPEECH: FrameKind
FRAME_KIND_IDLE: FrameKind
FRAME_KIND_LISTENING: FrameKind
UTTERANCE_PHASE_UNSPECIFIED: UtterancePhase
UTTERANCE_PHASE_BEGAN: UtterancePhase
UTTERANCE_PHASE_ENDED: UtterancePhase
RENDER_OUTPUT_UNSPECIFIED: RenderOutput
RENDER_OUTPUT_MP4: RenderOutput
RENDER_OUTPUT_FRAMES: RenderOutput
RENDER_OUTPUT_FRAGMENTED_MP4: RenderOutput
RENDER_OUTPUT_WEBM: RenderOutput
RENDER_OUTPUT_GIF: RenderOutput
CHECK_OUTCOME_UNSPECIFIED: CheckOutcome
CHECK_OUTCOME_PASSED: CheckOutcome
CHECK_OUTCOME_WARNING: CheckOutcome
CHECK_OUTCOME_ERROR: CheckOutcome
CHECK_OUTCOME_NOT_CHECKED: CheckOutcome

class AnimateRequest(_message.Message):
    __slots__ = ("start", "audio", "end_of_utterance", "update", "interrupt", "end", "played", "resume", "listening", "ping")
    START_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    END_OF_UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    UPDATE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPT_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PLAYED_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    LISTENING_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    start: Start
    audio: AudioChunk
    end_of_utterance: EndOfUtterance
    update: Update
    interrupt: Interrupt
    end: End
    played: Played
    resume: Resume
    listening: Listening
    ping: Ping
    def __init__(self, start: _Optional[_Union[Start, _Mapping]] = ..., audio: _Optional[_Union[AudioChunk, _Mapping]] = ..., end_of_utterance: _Optional[_Union[EndOfUtterance, _Mapping]] = ..., update: _Optional[_Union[Update, _Mapping]] = ..., interrupt: _Optional[_Union[Interrupt, _Mapping]] = ..., end: _Optional[_Union[End, _Mapping]] = ..., played: _Optional[_Union[Played, _Mapping]] = ..., resume: _Optional[_Union[Resume, _Mapping]] = ..., listening: _Optional[_Union[Listening, _Mapping]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ...) -> None: ...

class AnimateResponse(_message.Message):
    __slots__ = ("started", "frame", "utterance", "interrupted", "warning", "summary", "updated", "update_refused", "buffer", "stream_expiring", "resumed", "resume_refused", "audio_position", "pong", "heartbeat")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_FIELD_NUMBER: _ClassVar[int]
    INTERRUPTED_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    UPDATE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    STREAM_EXPIRING_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    RESUME_REFUSED_FIELD_NUMBER: _ClassVar[int]
    AUDIO_POSITION_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    started: Started
    frame: Frame
    utterance: UtteranceEvent
    interrupted: Interrupted
    warning: Warning
    summary: Summary
    updated: Updated
    update_refused: UpdateRefused
    buffer: Buffer
    stream_expiring: StreamExpiring
    resumed: Resumed
    resume_refused: ResumeRefused
    audio_position: AudioPosition
    pong: Pong
    heartbeat: Heartbeat
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., utterance: _Optional[_Union[UtteranceEvent, _Mapping]] = ..., interrupted: _Optional[_Union[Interrupted, _Mapping]] = ..., warning: _Optional[_Union[Warning, _Mapping]] = ..., summary: _Optional[_Union[Summary, _Mapping]] = ..., updated: _Optional[_Union[Updated, _Mapping]] = ..., update_refused: _Optional[_Union[UpdateRefused, _Mapping]] = ..., buffer: _Optional[_Union[Buffer, _Mapping]] = ..., stream_expiring: _Optional[_Union[StreamExpiring, _Mapping]] = ..., resumed: _Optional[_Union[Resumed, _Mapping]] = ..., resume_refused: _Optional[_Union[ResumeRefused, _Mapping]] = ..., audio_position: _Optional[_Union[AudioPosition, _Mapping]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ...) -> None: ...

class Start(_message.Message):
    __slots__ = ("client_session_id", "portrait", "avatar_id", "audio_format", "video_format", "generation", "idle_frames", "continue_from_last_frame", "idle_mode", "blink_over_speech", "pace", "buffer", "audio_position_interval", "heartbeat_interval", "min_steps")
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    IDLE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    CONTINUE_FROM_LAST_FRAME_FIELD_NUMBER: _ClassVar[int]
    IDLE_MODE_FIELD_NUMBER: _ClassVar[int]
    BLINK_OVER_SPEECH_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    AUDIO_POSITION_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MIN_STEPS_FIELD_NUMBER: _ClassVar[int]
    client_session_id: str
    portrait: Portrait
    avatar_id: str
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings
    idle_frames: bool
    continue_from_last_frame: bool
    idle_mode: IdleMode
    blink_over_speech: bool
    pace: Pace
    buffer: _duration_pb2.Duration
    audio_position_interval: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    min_steps: int
    def __init__(self, client_session_id: _Optional[str] = ..., portrait: _Optional[_Union[Portrait, _Mapping]] = ..., avatar_id: _Optional[str] = ..., audio_format: _Optional[_Union[AudioFormat, _Mapping]] = ..., video_format: _Optional[_Union[VideoFormat, _Mapping]] = ..., generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., idle_frames: _Optional[bool] = ..., continue_from_last_frame: _Optional[bool] = ..., idle_mode: _Optional[_Union[IdleMode, str]] = ..., blink_over_speech: _Optional[bool] = ..., pace: _Optional[_Union[Pace, str]] = ..., buffer: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., audio_position_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_steps: _Optional[int] = ...) -> None: ...

class AudioChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class EndOfUtterance(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Update(_message.Message):
    __slots__ = ("generation", "update_id")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_ID_FIELD_NUMBER: _ClassVar[int]
    generation: GenerationSettings
    update_id: str
    def __init__(self, generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., update_id: _Optional[str] = ...) -> None: ...

class Interrupt(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class End(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Played(_message.Message):
    __slots__ = ("last_frame_index",)
    LAST_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    last_frame_index: int
    def __init__(self, last_frame_index: _Optional[int] = ...) -> None: ...

class Resume(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Listening(_message.Message):
    __slots__ = ("active",)
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    active: bool
    def __init__(self, active: _Optional[bool] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("ping_id",)
    PING_ID_FIELD_NUMBER: _ClassVar[int]
    ping_id: str
    def __init__(self, ping_id: _Optional[str] = ...) -> None: ...

class Portrait(_message.Message):
    __slots__ = ("image", "face_box", "strict", "framing")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    FACE_BOX_FIELD_NUMBER: _ClassVar[int]
    STRICT_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    face_box: FaceBox
    strict: bool
    framing: PortraitFraming
    def __init__(self, image: _Optional[bytes] = ..., face_box: _Optional[_Union[FaceBox, _Mapping]] = ..., strict: _Optional[bool] = ..., framing: _Optional[_Union[PortraitFraming, str]] = ...) -> None: ...

class FaceBox(_message.Message):
    __slots__ = ("left", "top", "right", "bottom")
    LEFT_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    RIGHT_FIELD_NUMBER: _ClassVar[int]
    BOTTOM_FIELD_NUMBER: _ClassVar[int]
    left: int
    top: int
    right: int
    bottom: int
    def __init__(self, left: _Optional[int] = ..., top: _Optional[int] = ..., right: _Optional[int] = ..., bottom: _Optional[int] = ...) -> None: ...

class AudioFormat(_message.Message):
    __slots__ = ("encoding", "sample_rate_hz", "channels")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_RATE_HZ_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    encoding: AudioEncoding
    sample_rate_hz: int
    channels: int
    def __init__(self, encoding: _Optional[_Union[AudioEncoding, str]] = ..., sample_rate_hz: _Optional[int] = ..., channels: _Optional[int] = ...) -> None: ...

class VideoFormat(_message.Message):
    __slots__ = ("encoding", "width", "height", "jpeg_quality", "frames_per_second", "frames_per_second_denominator", "blend_frames")
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    JPEG_QUALITY_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    BLEND_FRAMES_FIELD_NUMBER: _ClassVar[int]
    encoding: FrameEncoding
    width: int
    height: int
    jpeg_quality: int
    frames_per_second: int
    frames_per_second_denominator: int
    blend_frames: bool
    def __init__(self, encoding: _Optional[_Union[FrameEncoding, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., jpeg_quality: _Optional[int] = ..., frames_per_second: _Optional[int] = ..., frames_per_second_denominator: _Optional[int] = ..., blend_frames: _Optional[bool] = ...) -> None: ...

class GenerationSettings(_message.Message):
    __slots__ = ("prompt", "negative_prompt", "steps", "audio_guidance", "text_guidance", "sampler", "shift", "seed", "dynamic_audio_guidance", "dynamic_text_guidance", "negative_prompt_scale", "negative_prompt_steps", "guidance_skip_ratio", "audio_scale", "teacache", "preset", "style_cfg")
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    AUDIO_GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    TEXT_GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    DYNAMIC_AUDIO_GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    DYNAMIC_TEXT_GUIDANCE_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_SCALE_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_PROMPT_STEPS_FIELD_NUMBER: _ClassVar[int]
    GUIDANCE_SKIP_RATIO_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SCALE_FIELD_NUMBER: _ClassVar[int]
    TEACACHE_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    STYLE_CFG_FIELD_NUMBER: _ClassVar[int]
    prompt: str
    negative_prompt: str
    steps: int
    audio_guidance: float
    text_guidance: float
    sampler: Sampler
    shift: float
    seed: int
    dynamic_audio_guidance: bool
    dynamic_text_guidance: bool
    negative_prompt_scale: float
    negative_prompt_steps: int
    guidance_skip_ratio: float
    audio_scale: float
    teacache: TeaCache
    preset: str
    style_cfg: float
    def __init__(self, prompt: _Optional[str] = ..., negative_prompt: _Optional[str] = ..., steps: _Optional[int] = ..., audio_guidance: _Optional[float] = ..., text_guidance: _Optional[float] = ..., sampler: _Optional[_Union[Sampler, str]] = ..., shift: _Optional[float] = ..., seed: _Optional[int] = ..., dynamic_audio_guidance: _Optional[bool] = ..., dynamic_text_guidance: _Optional[bool] = ..., negative_prompt_scale: _Optional[float] = ..., negative_prompt_steps: _Optional[int] = ..., guidance_skip_ratio: _Optional[float] = ..., audio_scale: _Optional[float] = ..., teacache: _Optional[_Union[TeaCache, _Mapping]] = ..., preset: _Optional[str] = ..., style_cfg: _Optional[float] = ...) -> None: ...

class TeaCache(_message.Message):
    __slots__ = ("threshold", "warm_up", "policy", "off")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WARM_UP_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    OFF_FIELD_NUMBER: _ClassVar[int]
    threshold: float
    warm_up: int
    policy: TeaCachePolicy
    off: bool
    def __init__(self, threshold: _Optional[float] = ..., warm_up: _Optional[int] = ..., policy: _Optional[_Union[TeaCachePolicy, str]] = ..., off: _Optional[bool] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("request_id", "client_session_id", "audio_format", "video_format", "generation", "windows", "limits", "idle_mode", "pace", "buffer", "blink_over_speech", "audio_position_interval", "heartbeat_interval", "min_steps")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    IDLE_MODE_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    BLINK_OVER_SPEECH_FIELD_NUMBER: _ClassVar[int]
    AUDIO_POSITION_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    MIN_STEPS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    client_session_id: str
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings
    windows: WindowSettings
    limits: Limits
    idle_mode: IdleMode
    pace: Pace
    buffer: _duration_pb2.Duration
    blink_over_speech: bool
    audio_position_interval: _duration_pb2.Duration
    heartbeat_interval: _duration_pb2.Duration
    min_steps: int
    def __init__(self, request_id: _Optional[str] = ..., client_session_id: _Optional[str] = ..., audio_format: _Optional[_Union[AudioFormat, _Mapping]] = ..., video_format: _Optional[_Union[VideoFormat, _Mapping]] = ..., generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., windows: _Optional[_Union[WindowSettings, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., idle_mode: _Optional[_Union[IdleMode, str]] = ..., pace: _Optional[_Union[Pace, str]] = ..., buffer: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., blink_over_speech: _Optional[bool] = ..., audio_position_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., min_steps: _Optional[int] = ...) -> None: ...

class WindowSettings(_message.Message):
    __slots__ = ("first_window_frames", "window_frames", "overlap_frames", "audio_lookahead", "audio_left_context", "advised_buffer", "ladder")
    FIRST_WINDOW_FRAMES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FRAMES_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FRAMES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_LOOKAHEAD_FIELD_NUMBER: _ClassVar[int]
    AUDIO_LEFT_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ADVISED_BUFFER_FIELD_NUMBER: _ClassVar[int]
    LADDER_FIELD_NUMBER: _ClassVar[int]
    first_window_frames: int
    window_frames: int
    overlap_frames: int
    audio_lookahead: _duration_pb2.Duration
    audio_left_context: _duration_pb2.Duration
    advised_buffer: _duration_pb2.Duration
    ladder: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, first_window_frames: _Optional[int] = ..., window_frames: _Optional[int] = ..., overlap_frames: _Optional[int] = ..., audio_lookahead: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., audio_left_context: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., advised_buffer: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., ladder: _Optional[_Iterable[int]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_message_bytes", "max_portrait_bytes", "max_portrait_pixels", "max_stream_audio", "max_render_audio", "max_buffered_audio", "read_timeout", "idle_timeout", "max_streams", "max_steps", "max_prompt_bytes", "start_timeout", "max_streams_per_caller", "max_waiting_utterances", "max_unread_answers", "max_waiting_updates", "max_buffer", "max_avatars", "max_avatars_per_caller", "avatar_lifetime", "max_resumable_audio", "max_load", "max_opening_calls", "max_opening_calls_per_caller", "max_speech_bytes")
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PORTRAIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_PORTRAIT_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAM_AUDIO_FIELD_NUMBER: _ClassVar[int]
    MAX_RENDER_AUDIO_FIELD_NUMBER: _ClassVar[int]
    MAX_BUFFERED_AUDIO_FIELD_NUMBER: _ClassVar[int]
    READ_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_FIELD_NUMBER: _ClassVar[int]
    MAX_STEPS_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPT_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    MAX_WAITING_UTTERANCES_FIELD_NUMBER: _ClassVar[int]
    MAX_UNREAD_ANSWERS_FIELD_NUMBER: _ClassVar[int]
    MAX_WAITING_UPDATES_FIELD_NUMBER: _ClassVar[int]
    MAX_BUFFER_FIELD_NUMBER: _ClassVar[int]
    MAX_AVATARS_FIELD_NUMBER: _ClassVar[int]
    MAX_AVATARS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    AVATAR_LIFETIME_FIELD_NUMBER: _ClassVar[int]
    MAX_RESUMABLE_AUDIO_FIELD_NUMBER: _ClassVar[int]
    MAX_LOAD_FIELD_NUMBER: _ClassVar[int]
    MAX_OPENING_CALLS_FIELD_NUMBER: _ClassVar[int]
    MAX_OPENING_CALLS_PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    MAX_SPEECH_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_message_bytes: int
    max_portrait_bytes: int
    max_portrait_pixels: int
    max_stream_audio: _duration_pb2.Duration
    max_render_audio: _duration_pb2.Duration
    max_buffered_audio: _duration_pb2.Duration
    read_timeout: _duration_pb2.Duration
    idle_timeout: _duration_pb2.Duration
    max_streams: int
    max_steps: int
    max_prompt_bytes: int
    start_timeout: _duration_pb2.Duration
    max_streams_per_caller: int
    max_waiting_utterances: int
    max_unread_answers: int
    max_waiting_updates: int
    max_buffer: _duration_pb2.Duration
    max_avatars: int
    max_avatars_per_caller: int
    avatar_lifetime: _duration_pb2.Duration
    max_resumable_audio: _duration_pb2.Duration
    max_load: float
    max_opening_calls: int
    max_opening_calls_per_caller: int
    max_speech_bytes: int
    def __init__(self, max_message_bytes: _Optional[int] = ..., max_portrait_bytes: _Optional[int] = ..., max_portrait_pixels: _Optional[int] = ..., max_stream_audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_render_audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_buffered_audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., read_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_streams: _Optional[int] = ..., max_steps: _Optional[int] = ..., max_prompt_bytes: _Optional[int] = ..., start_timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_streams_per_caller: _Optional[int] = ..., max_waiting_utterances: _Optional[int] = ..., max_unread_answers: _Optional[int] = ..., max_waiting_updates: _Optional[int] = ..., max_buffer: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_avatars: _Optional[int] = ..., max_avatars_per_caller: _Optional[int] = ..., avatar_lifetime: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_resumable_audio: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_load: _Optional[float] = ..., max_opening_calls: _Optional[int] = ..., max_opening_calls_per_caller: _Optional[int] = ..., max_speech_bytes: _Optional[int] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("index", "utterance_id", "presentation_time", "first_audio_sample", "kind", "encoding", "width", "height", "data", "key_frame")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PRESENTATION_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_FIELD_NUMBER: _ClassVar[int]
    index: int
    utterance_id: int
    presentation_time: _duration_pb2.Duration
    first_audio_sample: int
    kind: FrameKind
    encoding: FrameEncoding
    width: int
    height: int
    data: bytes
    key_frame: bool
    def __init__(self, index: _Optional[int] = ..., utterance_id: _Optional[int] = ..., presentation_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., first_audio_sample: _Optional[int] = ..., kind: _Optional[_Union[FrameKind, str]] = ..., encoding: _Optional[_Union[FrameEncoding, str]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., data: _Optional[bytes] = ..., key_frame: _Optional[bool] = ...) -> None: ...

class UtteranceEvent(_message.Message):
    __slots__ = ("utterance_id", "phase", "frame_index", "audio_sample")
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    utterance_id: int
    phase: UtterancePhase
    frame_index: int
    audio_sample: int
    def __init__(self, utterance_id: _Optional[int] = ..., phase: _Optional[_Union[UtterancePhase, str]] = ..., frame_index: _Optional[int] = ..., audio_sample: _Optional[int] = ...) -> None: ...

class Interrupted(_message.Message):
    __slots__ = ("last_frame_index", "next_audio_sample", "last_played_frame_index", "resume_audio_sample", "resumable_samples")
    LAST_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    NEXT_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    LAST_PLAYED_FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    RESUME_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    last_frame_index: int
    next_audio_sample: int
    last_played_frame_index: int
    resume_audio_sample: int
    resumable_samples: int
    def __init__(self, last_frame_index: _Optional[int] = ..., next_audio_sample: _Optional[int] = ..., last_played_frame_index: _Optional[int] = ..., resume_audio_sample: _Optional[int] = ..., resumable_samples: _Optional[int] = ...) -> None: ...

class Resumed(_message.Message):
    __slots__ = ("utterance_id", "first_audio_sample", "end_audio_sample", "lost_samples")
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    FIRST_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    END_AUDIO_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    LOST_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    utterance_id: int
    first_audio_sample: int
    end_audio_sample: int
    lost_samples: int
    def __init__(self, utterance_id: _Optional[int] = ..., first_audio_sample: _Optional[int] = ..., end_audio_sample: _Optional[int] = ..., lost_samples: _Optional[int] = ...) -> None: ...

class ResumeRefused(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Updated(_message.Message):
    __slots__ = ("update_id", "generation", "utterance_id", "window", "frame_index")
    UPDATE_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    UTTERANCE_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    FRAME_INDEX_FIELD_NUMBER: _ClassVar[int]
    update_id: str
    generation: GenerationSettings
    utterance_id: int
    window: int
    frame_index: int
    def __init__(self, update_id: _Optional[str] = ..., generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., utterance_id: _Optional[int] = ..., window: _Optional[int] = ..., frame_index: _Optional[int] = ...) -> None: ...

class UpdateRefused(_message.Message):
    __slots__ = ("update_id", "reason", "field", "message")
    UPDATE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    update_id: str
    reason: str
    field: str
    message: str
    def __init__(self, update_id: _Optional[str] = ..., reason: _Optional[str] = ..., field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class AudioPosition(_message.Message):
    __slots__ = ("received_samples", "animated_samples")
    RECEIVED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    ANIMATED_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    received_samples: int
    animated_samples: int
    def __init__(self, received_samples: _Optional[int] = ..., animated_samples: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("ping_id",)
    PING_ID_FIELD_NUMBER: _ClassVar[int]
    ping_id: str
    def __init__(self, ping_id: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Buffer(_message.Message):
    __slots__ = ("level", "filling", "underruns", "realtime_factor")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FILLING_FIELD_NUMBER: _ClassVar[int]
    UNDERRUNS_FIELD_NUMBER: _ClassVar[int]
    REALTIME_FACTOR_FIELD_NUMBER: _ClassVar[int]
    level: _duration_pb2.Duration
    filling: bool
    underruns: int
    realtime_factor: float
    def __init__(self, level: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., filling: _Optional[bool] = ..., underruns: _Optional[int] = ..., realtime_factor: _Optional[float] = ...) -> None: ...

class StreamExpiring(_message.Message):
    __slots__ = ("reason", "message", "remaining")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    remaining: _duration_pb2.Duration
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., remaining: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class Summary(_message.Message):
    __slots__ = ("frames", "audio_samples", "audio_duration", "windows", "first_frame_latency", "wall_time", "realtime_factor", "playable_latency", "idle_frames", "underruns")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    AUDIO_DURATION_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_LATENCY_FIELD_NUMBER: _ClassVar[int]
    WALL_TIME_FIELD_NUMBER: _ClassVar[int]
    REALTIME_FACTOR_FIELD_NUMBER: _ClassVar[int]
    PLAYABLE_LATENCY_FIELD_NUMBER: _ClassVar[int]
    IDLE_FRAMES_FIELD_NUMBER: _ClassVar[int]
    UNDERRUNS_FIELD_NUMBER: _ClassVar[int]
    frames: int
    audio_samples: int
    audio_duration: _duration_pb2.Duration
    windows: int
    first_frame_latency: _duration_pb2.Duration
    wall_time: _duration_pb2.Duration
    realtime_factor: float
    playable_latency: _duration_pb2.Duration
    idle_frames: int
    underruns: int
    def __init__(self, frames: _Optional[int] = ..., audio_samples: _Optional[int] = ..., audio_duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., windows: _Optional[int] = ..., first_frame_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., wall_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., realtime_factor: _Optional[float] = ..., playable_latency: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_frames: _Optional[int] = ..., underruns: _Optional[int] = ...) -> None: ...

class RenderRequest(_message.Message):
    __slots__ = ("client_session_id", "portrait", "avatar_id", "audio_format", "audio", "video_format", "generation", "output", "exact_clip", "blink_over_speech")
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FORMAT_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    EXACT_CLIP_FIELD_NUMBER: _ClassVar[int]
    BLINK_OVER_SPEECH_FIELD_NUMBER: _ClassVar[int]
    client_session_id: str
    portrait: Portrait
    avatar_id: str
    audio_format: AudioFormat
    audio: bytes
    video_format: VideoFormat
    generation: GenerationSettings
    output: RenderOutput
    exact_clip: ExactClip
    blink_over_speech: bool
    def __init__(self, client_session_id: _Optional[str] = ..., portrait: _Optional[_Union[Portrait, _Mapping]] = ..., avatar_id: _Optional[str] = ..., audio_format: _Optional[_Union[AudioFormat, _Mapping]] = ..., audio: _Optional[bytes] = ..., video_format: _Optional[_Union[VideoFormat, _Mapping]] = ..., generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., output: _Optional[_Union[RenderOutput, str]] = ..., exact_clip: _Optional[_Union[ExactClip, _Mapping]] = ..., blink_over_speech: _Optional[bool] = ...) -> None: ...

class ExactClip(_message.Message):
    __slots__ = ("window_frames", "overlap_frames", "blend_latents", "match_colors")
    WINDOW_FRAMES_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FRAMES_FIELD_NUMBER: _ClassVar[int]
    BLEND_LATENTS_FIELD_NUMBER: _ClassVar[int]
    MATCH_COLORS_FIELD_NUMBER: _ClassVar[int]
    window_frames: int
    overlap_frames: int
    blend_latents: bool
    match_colors: bool
    def __init__(self, window_frames: _Optional[int] = ..., overlap_frames: _Optional[int] = ..., blend_latents: _Optional[bool] = ..., match_colors: _Optional[bool] = ...) -> None: ...

class RenderResponse(_message.Message):
    __slots__ = ("started", "progress", "frame", "mp4_chunk", "warning", "summary", "file_chunk")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    MP4_CHUNK_FIELD_NUMBER: _ClassVar[int]
    WARNING_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FILE_CHUNK_FIELD_NUMBER: _ClassVar[int]
    started: Started
    progress: Progress
    frame: Frame
    mp4_chunk: Mp4Chunk
    warning: Warning
    summary: Summary
    file_chunk: FileChunk
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., frame: _Optional[_Union[Frame, _Mapping]] = ..., mp4_chunk: _Optional[_Union[Mp4Chunk, _Mapping]] = ..., warning: _Optional[_Union[Warning, _Mapping]] = ..., summary: _Optional[_Union[Summary, _Mapping]] = ..., file_chunk: _Optional[_Union[FileChunk, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("frames", "total_frames")
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: int
    total_frames: int
    def __init__(self, frames: _Optional[int] = ..., total_frames: _Optional[int] = ...) -> None: ...

class Mp4Chunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class FileChunk(_message.Message):
    __slots__ = ("data",)
    DATA_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    def __init__(self, data: _Optional[bytes] = ...) -> None: ...

class GetServerInfoRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetServerInfoResponse(_message.Message):
    __slots__ = ("version", "variant", "checkpoint_digest", "models", "sizes", "frame_encodings", "samplers", "default_generation", "windows", "limits", "styles", "free_prompts", "settings", "presets", "idle_modes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    SIZES_FIELD_NUMBER: _ClassVar[int]
    FRAME_ENCODINGS_FIELD_NUMBER: _ClassVar[int]
    SAMPLERS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    STYLES_FIELD_NUMBER: _ClassVar[int]
    FREE_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    IDLE_MODES_FIELD_NUMBER: _ClassVar[int]
    version: str
    variant: str
    checkpoint_digest: str
    models: _containers.RepeatedCompositeFieldContainer[Model]
    sizes: _containers.RepeatedCompositeFieldContainer[Size]
    frame_encodings: _containers.RepeatedScalarFieldContainer[FrameEncoding]
    samplers: _containers.RepeatedScalarFieldContainer[Sampler]
    default_generation: GenerationSettings
    windows: WindowSettings
    limits: Limits
    styles: _containers.RepeatedCompositeFieldContainer[Style]
    free_prompts: bool
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    presets: _containers.RepeatedCompositeFieldContainer[Preset]
    idle_modes: _containers.RepeatedScalarFieldContainer[IdleMode]
    def __init__(self, version: _Optional[str] = ..., variant: _Optional[str] = ..., checkpoint_digest: _Optional[str] = ..., models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ..., sizes: _Optional[_Iterable[_Union[Size, _Mapping]]] = ..., frame_encodings: _Optional[_Iterable[_Union[FrameEncoding, str]]] = ..., samplers: _Optional[_Iterable[_Union[Sampler, str]]] = ..., default_generation: _Optional[_Union[GenerationSettings, _Mapping]] = ..., windows: _Optional[_Union[WindowSettings, _Mapping]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., styles: _Optional[_Iterable[_Union[Style, _Mapping]]] = ..., free_prompts: _Optional[bool] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., presets: _Optional[_Iterable[_Union[Preset, _Mapping]]] = ..., idle_modes: _Optional[_Iterable[_Union[IdleMode, str]]] = ...) -> None: ...

class Preset(_message.Message):
    __slots__ = ("name", "steps")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    steps: int
    def __init__(self, name: _Optional[str] = ..., steps: _Optional[int] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "meaning", "minimum", "maximum", "changes_in_stream")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    CHANGES_IN_STREAM_FIELD_NUMBER: _ClassVar[int]
    name: str
    meaning: str
    minimum: float
    maximum: float
    changes_in_stream: bool
    def __init__(self, name: _Optional[str] = ..., meaning: _Optional[str] = ..., minimum: _Optional[float] = ..., maximum: _Optional[float] = ..., changes_in_stream: _Optional[bool] = ...) -> None: ...

class Style(_message.Message):
    __slots__ = ("name", "prompt")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    name: str
    prompt: str
    def __init__(self, name: _Optional[str] = ..., prompt: _Optional[str] = ...) -> None: ...

class Model(_message.Message):
    __slots__ = ("name", "backend", "precision")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    name: str
    backend: str
    precision: str
    def __init__(self, name: _Optional[str] = ..., backend: _Optional[str] = ..., precision: _Optional[str] = ...) -> None: ...

class Size(_message.Message):
    __slots__ = ("width", "height")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class CheckPortraitRequest(_message.Message):
    __slots__ = ("portrait", "width", "height")
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    portrait: Portrait
    width: int
    height: int
    def __init__(self, portrait: _Optional[_Union[Portrait, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class CheckPortraitResponse(_message.Message):
    __slots__ = ("usable", "checks", "faces", "size", "shown", "head_and_shoulders")
    USABLE_FIELD_NUMBER: _ClassVar[int]
    CHECKS_FIELD_NUMBER: _ClassVar[int]
    FACES_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHOWN_FIELD_NUMBER: _ClassVar[int]
    HEAD_AND_SHOULDERS_FIELD_NUMBER: _ClassVar[int]
    usable: bool
    checks: _containers.RepeatedCompositeFieldContainer[PortraitCheck]
    faces: _containers.RepeatedCompositeFieldContainer[Face]
    size: Size
    shown: FaceBox
    head_and_shoulders: FaceBox
    def __init__(self, usable: _Optional[bool] = ..., checks: _Optional[_Iterable[_Union[PortraitCheck, _Mapping]]] = ..., faces: _Optional[_Iterable[_Union[Face, _Mapping]]] = ..., size: _Optional[_Union[Size, _Mapping]] = ..., shown: _Optional[_Union[FaceBox, _Mapping]] = ..., head_and_shoulders: _Optional[_Union[FaceBox, _Mapping]] = ...) -> None: ...

class PortraitCheck(_message.Message):
    __slots__ = ("code", "outcome", "measured", "threshold", "is_minimum", "quantity", "advice")
    CODE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    IS_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    code: str
    outcome: CheckOutcome
    measured: float
    threshold: float
    is_minimum: bool
    quantity: str
    advice: str
    def __init__(self, code: _Optional[str] = ..., outcome: _Optional[_Union[CheckOutcome, str]] = ..., measured: _Optional[float] = ..., threshold: _Optional[float] = ..., is_minimum: _Optional[bool] = ..., quantity: _Optional[str] = ..., advice: _Optional[str] = ...) -> None: ...

class Face(_message.Message):
    __slots__ = ("box", "score", "points", "eyes")
    BOX_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    EYES_FIELD_NUMBER: _ClassVar[int]
    box: FaceBox
    score: float
    points: _containers.RepeatedScalarFieldContainer[float]
    eyes: _containers.RepeatedCompositeFieldContainer[Eye]
    def __init__(self, box: _Optional[_Union[FaceBox, _Mapping]] = ..., score: _Optional[float] = ..., points: _Optional[_Iterable[float]] = ..., eyes: _Optional[_Iterable[_Union[Eye, _Mapping]]] = ...) -> None: ...

class Eye(_message.Message):
    __slots__ = ("upper_lid", "lower_lid", "iris_x", "iris_y", "iris_radius")
    UPPER_LID_FIELD_NUMBER: _ClassVar[int]
    LOWER_LID_FIELD_NUMBER: _ClassVar[int]
    IRIS_X_FIELD_NUMBER: _ClassVar[int]
    IRIS_Y_FIELD_NUMBER: _ClassVar[int]
    IRIS_RADIUS_FIELD_NUMBER: _ClassVar[int]
    upper_lid: _containers.RepeatedScalarFieldContainer[float]
    lower_lid: _containers.RepeatedScalarFieldContainer[float]
    iris_x: float
    iris_y: float
    iris_radius: float
    def __init__(self, upper_lid: _Optional[_Iterable[float]] = ..., lower_lid: _Optional[_Iterable[float]] = ..., iris_x: _Optional[float] = ..., iris_y: _Optional[float] = ..., iris_radius: _Optional[float] = ...) -> None: ...

class CreateAvatarRequest(_message.Message):
    __slots__ = ("portrait", "width", "height")
    PORTRAIT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    portrait: Portrait
    width: int
    height: int
    def __init__(self, portrait: _Optional[_Union[Portrait, _Mapping]] = ..., width: _Optional[int] = ..., height: _Optional[int] = ...) -> None: ...

class Avatar(_message.Message):
    __slots__ = ("avatar_id", "width", "height", "create_time", "expire_time")
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    avatar_id: str
    width: int
    height: int
    create_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, avatar_id: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CreateAvatarResponse(_message.Message):
    __slots__ = ("avatar", "warnings")
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    avatar: Avatar
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, avatar: _Optional[_Union[Avatar, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class GetAvatarRequest(_message.Message):
    __slots__ = ("avatar_id",)
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    avatar_id: str
    def __init__(self, avatar_id: _Optional[str] = ...) -> None: ...

class GetAvatarResponse(_message.Message):
    __slots__ = ("avatar",)
    AVATAR_FIELD_NUMBER: _ClassVar[int]
    avatar: Avatar
    def __init__(self, avatar: _Optional[_Union[Avatar, _Mapping]] = ...) -> None: ...

class ListAvatarsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAvatarsResponse(_message.Message):
    __slots__ = ("avatars",)
    AVATARS_FIELD_NUMBER: _ClassVar[int]
    avatars: _containers.RepeatedCompositeFieldContainer[Avatar]
    def __init__(self, avatars: _Optional[_Iterable[_Union[Avatar, _Mapping]]] = ...) -> None: ...

class DeleteAvatarRequest(_message.Message):
    __slots__ = ("avatar_id",)
    AVATAR_ID_FIELD_NUMBER: _ClassVar[int]
    avatar_id: str
    def __init__(self, avatar_id: _Optional[str] = ...) -> None: ...

class DeleteAvatarResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
