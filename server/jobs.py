"""What a call asks for, checked and with every default filled in; and what the server offers."""

from dataclasses import dataclass, replace

from server.audio import AudioFormat
from server.clip import ExactClip
from server.contract import Variant
from server.encoding import FrameEncoding
from server.face import FaceBox
from server.manifest import Manifest, ManifestError
from server.samplers.sampler import SamplerName
from server.settings import Settings
from server.teacache import TeaCache
from server.windows import WindowSpec

SAMPLERS: tuple[SamplerName, ...] = ("flow_unipc", "flow_euler", "flow_dpmpp")
DEFAULT_JPEG_QUALITY = 90
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8_000, 48_000
MAX_SESSION_ID_BYTES = 128
RANGES: dict[str, tuple[float, float]] = {
    "audio_guidance": (1, 20),
    "text_guidance": (1, 20),
    "shift": (0.01, 100),
    "negative_prompt_scale": (0, 3),
    "negative_prompt_steps": (0, 10),
    "guidance_skip_ratio": (0, 1),
    "audio_scale": (0, 10),
}
"""Lowest and highest value of each GenerationSettings field that is a number."""
MAX_TEACACHE_THRESHOLD = 10.0
EXACT_WINDOW_FRAMES: dict[Variant, int] = {"flash": 81, "preview": 113}
MAX_EXACT_WINDOW_FRAMES = 257


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What frames look like; sizes in pixels."""

    encoding: FrameEncoding
    width: int
    height: int
    jpeg_quality: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How frames are generated. Flash has no use for what its defaults leave without effect."""

    prompt: str = "cinematic portrait, soft studio key light, shallow depth of field, filmic color"
    negative_prompt: str = ""
    steps: int
    audio_guidance: float
    text_guidance: float = 1.0
    sampler: SamplerName
    shift: float = 5.0
    seed: int = 43
    dynamic_audio_guidance: bool = False
    dynamic_text_guidance: bool = False
    negative_prompt_scale: float = 1.0
    negative_prompt_steps: int = 0
    guidance_skip_ratio: float = 0.0
    audio_scale: float = 1.0
    teacache: TeaCache | None = None


VARIANT_DEFAULTS: dict[Variant, GenerationSettings] = {
    "flash": GenerationSettings(steps=8, audio_guidance=2.5, sampler="flow_unipc"),
    "preview": GenerationSettings(
        negative_prompt="blurred face, distorted mouth, twisted hands, jerky gestures",
        steps=25,
        audio_guidance=2.9,
        text_guidance=2.5,
        sampler="flow_euler",
        dynamic_audio_guidance=True,
        dynamic_text_guidance=True,
        negative_prompt_scale=1.5,
        negative_prompt_steps=2,
    ),
}
"""What each variant's authors run it with, but for the prompts and the style's own strength."""


@dataclass(frozen=True, slots=True)
class Job:
    """A call, understood."""

    client_session_id: str
    portrait: bytes
    portrait_field: str
    face_box: FaceBox | None
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings
    continues: bool = False
    """Whether an utterance begins with the last frame shown before it."""
    exact: ExactClip | None = None
    """How to make a whole clip as the authors do, if asked."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What calls may ask for, from the settings and the repository's manifest."""

    settings: Settings
    manifest: Manifest

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Sizes (width, height); the first is the default."""
        return self.manifest.sizes

    def __post_init__(self) -> None:
        """Checks the settings against the repository.

        Raises:
            ManifestError: its engines do not take windows so long.
        """
        longest = self.manifest.max_window_frames
        for name in ("first_window_frames", "window_frames"):
            asked = getattr(self.settings, name)
            if longest is not None and asked > longest:
                raise ManifestError(
                    f"{name} is {asked}, but the engines of {self.settings.repository} take "
                    f"{longest} at most"
                )

    @property
    def max_exact_window_frames(self) -> int:
        """The longest window of an exact clip."""
        longest = self.manifest.max_window_frames
        return MAX_EXACT_WINDOW_FRAMES if longest is None else longest

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
        """What a call gets that states nothing: the variant's defaults under the operator's."""
        names = ("prompt", "negative_prompt", "steps", "audio_guidance", "text_guidance", "shift")
        stated = {name: getattr(self.settings, name) for name in (*names, "seed")}
        return replace(
            VARIANT_DEFAULTS[self.manifest.variant],
            **{name: value for name, value in stated.items() if value is not None},
        )
