"""Every setting of the gateway: command line, environment (ECHOMIMIC_*), file, then default."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    DirectoryPath,
    Field,
    FilePath,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from echomimic_client.voice import DEFAULT_VOICE
from server.config_file import ConfigFile
from server.setting_values import (
    FrameRate,
    OtlpEndpoint,
    TritonUrls,
    Voice,
    WindowLadder,
    read_frame_rate,
)

ENVIRONMENT_PREFIX = "ECHOMIMIC_"
DEFAULT_PORT = 50051

MAX_BUFFER_S = 10.0
"""In real time so much waits as pictures: 0.5 GB of a stream at 768x768 and 30 frames a second."""
MAX_AGE_S = 2_000_000
"""Of connections: gRPC has 32 bits for its milliseconds."""
PLAIN_VARIABLES = {
    "STYLE_PROMPT": "prompt",
    "STYLE_CFG": "style_cfg",
    "TARGET_FPS": "target_fps",
    "BUFFER_SECONDS": "buffer_seconds",
}
"""Variables with names that users know, and the settings they state where nothing else does."""


class Settings(BaseSettings):
    """The EchoMimic gateway: takes speech by gRPC and answers with video frames."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        cli_prog_name="python -m server",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        frozen=True,
    )

    config: FilePath | None = Field(
        None,
        description="File (TOML, or YAML by its name) with more of these settings, as "
        "max_streams = 8; the environment and the command line win.",
    )
    repository: Path = Field(
        Path("model_repository"), description="Model repository that the export wrote."
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="gRPC port; 0 takes a free one.")
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of Prometheus's metrics alone, on the same address, for everybody; 0 "
        "takes a free one, none leaves them to HTTP's `/metrics`.",
    )
    http_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of the same calls over HTTP, on the same address; 0 takes a free one, "
        "none serves none.",
    )
    http_audio_folder: DirectoryPath | None = Field(
        None, description="Whose files an HTTP request may name as its speech; none allows none."
    )
    studio: bool = Field(
        True, description="Whether HTTP serves a page at `/` to try the server with."
    )
    voice: Voice = Field(
        DEFAULT_VOICE,
        description="Who speaks texts, by HTTP and in the studio, as module:function; espeak-ng, "
        "where the extra voice is installed.",
    )
    kserve: bool = Field(
        True, description="Whether KServe v2 is spoken, too: the model avatar for Triton's clients."
    )
    default_portrait: FilePath | None = Field(
        None,
        description="Portrait of KServe requests that have none, and what the studio begins with; "
        "none refuses them, and lets the studio ask.",
    )
    reflection: bool = Field(
        True, description="Whether gRPC tells its methods and messages to whoever asks."
    )
    channelz: bool = Field(
        False,
        description="Whether gRPC tells of its connections and calls (channelz), clients' "
        "addresses among them, to whoever may ask what the server is.",
    )
    tls_certificate: FilePath | None = Field(
        None, description="Certificate chain (PEM) to serve with by TLS; none serves plain text."
    )
    tls_key: FilePath | None = Field(None, description="Its private key (PEM).")
    tls_client_ca: FilePath | None = Field(
        None, description="Authority (PEM) whose certificates clients have to show; none asks none."
    )
    api_keys: FilePath | None = Field(
        None,
        description="File of API keys, one of which every call needs, or a token; "
        "`python -m server new-key NAME` writes its entries.",
    )
    jwt_keys: FilePath | None = Field(
        None, description="Public keys (JWK set) whose tokens (JWT) are let in, too."
    )
    jwt_audience: str | None = Field(None, description="What the `aud` of a token has to name.")
    jwt_issuer: str | None = Field(None, description="What the `iss` of a token has to be.")

    otlp_endpoint: OtlpEndpoint | None = Field(
        None,
        description="Where traces go, as http://collector:4317 (OTLP over gRPC), with the extra "
        "traces; none traces nothing.",
    )
    trace_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How many calls are traced whose clients send no `traceparent`, which says it "
        "itself.",
    )

    triton_url: TritonUrls = Field(
        "",
        description="Running Tritons to use, host:port of gRPC, separated by commas; "
        "none starts one of our own.",
    )
    triton_venv: Path = Field(
        Path(".venv/triton"),
        description="Environment that holds the tritonserver to start, or in NVIDIA's container "
        "/opt/tritonserver.",
    )
    triton_log: Path = Field(
        Path("build/triton.log"), description="Where the log of a Triton started here goes."
    )
    triton_http_port: int = Field(
        0,
        ge=0,
        le=65535,
        description="HTTP port of a Triton started here; 0 takes 8000 for the gateway on the "
        "default port, where that is free, and else a free one.",
    )
    triton_grpc_port: int = Field(
        0, ge=0, le=65535, description="Its gRPC port; 0 takes 8001, or a free one, likewise."
    )
    triton_metrics_port: int = Field(
        0, ge=0, le=65535, description="Its metrics port; 0 takes 8002, or a free one, likewise."
    )
    triton_traces_url: str | None = Field(
        None,
        description="Where a Triton started here sends what it does in calls that are traced, as "
        "http://collector:4318/v1/traces (OTLP over HTTP).",
    )
    triton_threads: int = Field(
        0, ge=0, description="Threads of each network's execution; 0 takes every core."
    )
    triton_start_timeout_s: float = Field(
        300.0, gt=0, description="How long Triton may take to load every network."
    )
    triton_shared_memory: Literal["auto", "off", "system", "cuda"] = Field(
        "auto",
        description="Whether large tensors go through /dev/shm: auto does so for a Triton at a "
        "loopback address, system tries it with any, cuda through a GPU's memory, off sends all by "
        "gRPC.",
    )
    triton_shared_memory_bytes: int = Field(
        2**30, ge=0, description="Shared memory for one Triton; gRPC carries what finds no room."
    )
    triton_wait_s: float = Field(
        30.0,
        ge=0,
        description="How long an execution waits while no Triton can be used, as until one that "
        "died is replaced; then its call ends. 0 ends it at once.",
    )
    inference_timeout_s: float = Field(
        120.0, gt=0, description="How long one execution of one network may take."
    )

    window_ladder: WindowLadder = Field(
        (9, 17, 33),
        description="Frames of the windows of an utterance, one after the other, as 9,17,33; the "
        "last length is that of all further windows. A short first one means an earlier first "
        "frame.",
    )
    overlap_frames: int = Field(
        5, ge=1, description="Frames a window shares with the one before, known to it, cross-faded."
    )
    audio_lookahead_frames: int = Field(
        5, ge=1, description="Frames of audio to wait for after a window's last frame."
    )
    audio_left_context_frames: int = Field(
        50, ge=0, description="Frames of audio before a window that its features are computed with."
    )

    drift_levels: float = Field(
        40.0,
        ge=0,
        le=255,
        description="Colours of a live stream are held to the portrait's: differences of up to "
        "about so many levels of 255 are put right from window to window, larger ones are taken "
        "for movement; 0 puts nothing right.",
    )

    target_fps: FrameRate = Field(
        "25",
        description="Frames a second where a request states none: 8 to 30, 23.976 or 29.97; the "
        "variable TARGET_FPS states it, too.",
    )
    buffer_seconds: float = Field(
        2.5,
        ge=0,
        le=MAX_BUFFER_S,
        description="How much of an utterance is made before it is played, where a request states "
        "no buffer; the variable BUFFER_SECONDS states it, too.",
    )
    prompt: str | None = Field(
        None,
        description="Prompt of a request that states none, or the name of a style; the variable "
        "STYLE_PROMPT states it, too.",
    )
    style_cfg: float | None = Field(
        None,
        ge=1,
        description="How strongly the style is followed where no guidance is stated: audio "
        "guidance with flash, text guidance with preview; the variable STYLE_CFG states it, too.",
    )
    preset: Literal["fast", "balanced", "maximum"] | None = Field(
        None, description="Denoising steps by name where none are stated: 6, 8 or 12."
    )
    negative_prompt: str | None = Field(
        None, description="Negative prompt where none is stated (preview)."
    )
    steps: int | None = Field(
        None, ge=1, description="Denoising steps where none are stated: flash 8, preview 25."
    )
    audio_guidance: float | None = Field(
        None, ge=1, description="Audio guidance where none is stated: flash 3, preview 2.9."
    )
    text_guidance: float | None = Field(
        None, ge=1, description="Text guidance where none is stated (preview): 4."
    )
    shift: float | None = Field(
        None, gt=0, description="Noise schedule shift where none is stated: 5."
    )
    seed: int | None = Field(None, ge=0, description="Seed where none is stated: 43.")

    lower_when_out_of_memory: bool = Field(
        False,
        description="Whether a stream that memory has no room for goes on with less, and a "
        "warning: the branches of a step one after the other, a lighter decoder if the repository "
        "has one beside, shorter windows, then the next smaller size, enlarged; else it is "
        "refused.",
    )

    max_streams: int = Field(4, ge=1, description="Streams and renders at once.")
    max_streams_per_caller: int = Field(
        0, ge=0, description="Of them, those of one client address; 0 means all."
    )
    max_opening_calls: int = Field(
        32,
        ge=1,
        description="Calls that have not said yet what they want, beside those at work: each may "
        "take the memory of a message.",
    )
    max_opening_calls_per_caller: int = Field(8, ge=1, description="Of them, those of one caller.")
    max_load: float = Field(
        0.0,
        ge=0,
        description="What streams and renders may take together of each Triton, as measured of "
        "such windows: seconds of Triton for a second of frames, so that with 1 or less all keep "
        "up with speech. One that would be too much is refused; 0 goes by places alone.",
    )
    max_steps: int = Field(50, ge=1, le=64, description="Denoising steps a request may ask for.")
    max_prompt_bytes: int = Field(2048, ge=1, description="Length of a prompt.")
    max_speech_bytes: int = Field(4096, ge=1, description="Length of a text to be spoken.")
    max_message_bytes: int = Field(
        128 * 2**20, ge=2**20, description="Size of one gRPC message a client may send."
    )
    max_portrait_bytes: int = Field(16 * 2**20, ge=1, description="Size of a portrait file.")
    max_portrait_pixels: int = Field(50_000_000, ge=1, description="Pixels of a portrait.")
    max_avatars: int = Field(64, ge=0, description="Prepared portraits that are kept.")
    max_avatars_per_caller: int = Field(
        0, ge=0, description="Of them, those of one caller; 0 means all."
    )
    avatar_lifetime_s: float = Field(
        24 * 3600.0, gt=0, description="How long a prepared portrait is kept that is not used."
    )
    avatar_folder: DirectoryPath | None = Field(
        None,
        description="Where prepared portraits outlive the process, and gateways with the same "
        "folder share them; none keeps them in memory only.",
    )
    max_stream_audio_s: float = Field(4 * 3600.0, gt=0, description="Audio of one stream.")
    max_render_audio_s: float = Field(300.0, gt=0, description="Audio of one render.")
    max_buffered_audio_s: float = Field(
        600.0, gt=0, description="Audio waiting to be computed; more is refused."
    )
    max_resumable_audio_s: float = Field(
        60.0,
        ge=0,
        description="Audio of a stream that is kept as it came, so that `resume` can say it again "
        "after an interruption; no more than may wait, and 0 keeps none.",
    )
    read_timeout_s: float = Field(
        60.0, gt=0, description="How long a client may leave a message unread."
    )
    start_timeout_s: float = Field(
        30.0, gt=0, description="How long a client may take to say what it wants."
    )
    idle_timeout_s: float = Field(
        300.0, gt=0, description="How long a client may be silent on an open stream."
    )
    max_connection_age_s: float | None = Field(
        None,
        ge=1,
        le=MAX_AGE_S,
        description="After about so long a client of gRPC is asked to connect anew, so that a "
        "balancer may send it elsewhere; none asks none.",
    )
    max_connection_age_grace_s: float = Field(
        4 * 3600.0,
        ge=0,
        le=MAX_AGE_S,
        description="How long calls may then go on by the connection that they have.",
    )
    shutdown_grace_s: float = Field(
        30.0, ge=0, description="How long running streams may go on after SIGTERM."
    )
    condition_cache_bytes: int = Field(
        256 * 2**20, ge=0, description="Memory for prepared portraits and prompts."
    )
    health_interval_s: float = Field(
        4.0,
        gt=0,
        description="Rest between trials of an idle Triton; seven times as long as one takes at "
        "least.",
    )
    log_json: bool = Field(False, description="Log as JSON lines instead of text.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Puts a file below the environment, and the variables of `PLAIN_VARIABLES` last."""
        stated = {name: os.environ.get(variable) for variable, name in PLAIN_VARIABLES.items()}
        plain = InitSettingsSource(settings_cls, {name: of for name, of in stated.items() if of})
        file = ConfigFile(settings_cls)
        return init_settings, env_settings, dotenv_settings, file_secret_settings, file, plain

    @property
    def places_per_caller(self) -> int:
        """Streams and renders of one client address at once."""
        return min(self.max_streams_per_caller or self.max_streams, self.max_streams)

    @property
    def resumable_audio_s(self) -> float:
        """Audio of a stream that is kept, to be said again after an interruption."""
        return min(self.max_resumable_audio_s, self.max_buffered_audio_s)

    @property
    def avatars_per_caller(self) -> int:
        """Prepared portraits of one caller that are kept."""
        return min(self.max_avatars_per_caller or self.max_avatars, self.max_avatars)

    @property
    def frame_rate(self) -> Fraction:
        """Frames a second where a request states none."""
        return read_frame_rate(self.target_fps)

    @property
    def triton_urls(self) -> list[str]:
        """The running Tritons to use."""
        return self.triton_url.split(",") if self.triton_url else []

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("tls_client_ca needs tls_certificate and tls_key")
        return self

    @model_validator(mode="after")
    def _windows_advance(self) -> Self:
        if self.overlap_frames >= self.window_ladder[0]:
            raise ValueError("overlap_frames must be smaller than every window")
        return self

    @model_validator(mode="after")
    def _buffer_holds_a_window(self) -> Self:
        frames = self.window_ladder[-1] + self.audio_lookahead_frames
        if self.max_buffered_audio_s * 25 < frames:
            raise ValueError("max_buffered_audio_s must hold a window and its look-ahead")
        return self
