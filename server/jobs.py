"""What a call asks for, checked and with every default filled in; and what the server offers."""

from dataclasses import dataclass

from server.audio import AudioFormat
from server.encoding import FrameEncoding
from server.manifest import Manifest
from server.samplers.sampler import SamplerName
from server.settings import Settings
from server.windows import WindowSpec

SAMPLERS: tuple[SamplerName, ...] = ("flow_unipc", "flow_euler", "flow_dpmpp")
"""Those offered; the first is the default."""
DEFAULT_JPEG_QUALITY = 90
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8_000, 48_000
MAX_SESSION_ID_BYTES = 128
MAX_GUIDANCE = 20.0
MAX_SHIFT = 100.0


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What frames look like; sizes in pixels."""

    encoding: FrameEncoding
    width: int
    height: int
    jpeg_quality: int


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How frames are generated."""

    prompt: str
    steps: int
    audio_guidance: float
    sampler: SamplerName
    shift: float
    seed: int


@dataclass(frozen=True, slots=True)
class Job:
    """A call, understood."""

    client_session_id: str
    portrait: bytes
    portrait_field: str
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings


@dataclass(frozen=True, slots=True)
class Offer:
    """What calls may ask for, from the settings and the repository's manifest."""

    settings: Settings
    manifest: Manifest

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Sizes (width, height); the first is the default."""
        return self.manifest.sizes

    @property
    def windows(self) -> WindowSpec:
        """How speech is cut into windows."""
        return WindowSpec(
            first=self.settings.first_window_frames,
            later=self.settings.window_frames,
            overlap=self.settings.overlap_frames,
            audio_lookahead=self.settings.audio_lookahead_frames,
            audio_left_context=self.settings.audio_left_context_frames,
        )

    @property
    def generation(self) -> GenerationSettings:
        """What a call gets that states nothing."""
        return GenerationSettings(
            prompt=self.settings.prompt,
            steps=self.settings.steps,
            audio_guidance=self.settings.audio_guidance,
            sampler=SAMPLERS[0],
            shift=self.settings.shift,
            seed=self.settings.seed,
        )
