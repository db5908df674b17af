"""What a call asks for, checked and with every default filled in; and what the server offers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from server.animation.clip import ExactClip
from server.animation.defaults import (
    PRESETS,
    SETTINGS,
    VARIANT_DEFAULTS,
    GenerationSettings,
    style_strength,
)
from server.animation.economy import Rungs
from server.animation.samplers.sampler import SamplerName
from server.animation.styles import NEGATIVE, STYLES
from server.animation.windows import WindowSpec
from server.audio.pcm import AudioFormat
from server.manifest import Manifest, ManifestError
from server.pictures.encoding import FrameEncoding
from server.pictures.mesh import has_mesh
from server.sessions.announcing import NEVER, Intervals
from server.sessions.pacer import AT_ONCE, Pace
from server.sessions.retiming import OWN_RATE, Retiming
from server.sessions.sitter import Avatar, Sitter
from server.settings import Settings
from server.triton.contract import LIGHT_DECODER, Variant

SAMPLERS: tuple[SamplerName, ...] = ("flow_unipc", "flow_euler", "flow_dpmpp")
DEFAULT_JPEG_QUALITY = 90
MIN_SAMPLE_RATE_HZ, MAX_SAMPLE_RATE_HZ = 8_000, 48_000
MAX_SESSION_ID_BYTES = 128
EXACT_WINDOW_FRAMES: dict[Variant, int] = {"flash": 81, "preview": 113}
MAX_EXACT_WINDOW_FRAMES = 257


IdleMode = Literal["still", "warp", "model"]
"""Nothing, the portrait moved by a warp, or what the model makes of silence."""
ALWAYS_IDLE: tuple[IdleMode, ...] = ("model", "still")
"""Those that need no mesh of faces."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What frames look like; sizes in pixels."""

    encoding: FrameEncoding
    width: int
    height: int
    jpeg_quality: int
    retiming: Retiming = OWN_RATE

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@dataclass(frozen=True, slots=True)
class Job:
    """A call, understood."""

    client_session_id: str
    who: Sitter | Avatar
    audio_format: AudioFormat
    video_format: VideoFormat
    generation: GenerationSettings
    continues: bool = False
    """Whether an utterance begins with the last frame shown before it."""
    idle: IdleMode = "still"
    """What is shown while nobody speaks."""
    blinks: bool = False
    """Whether blinks are laid over speech in which the model has not blinked for a while."""
    intervals: Intervals = NEVER
    """How often the client is told how far its audio is, and that the stream is alive."""
    min_steps: int | None = None
    """How few steps windows may be made with where the server is too slow; None is as asked."""
    pace: Pace = AT_ONCE
    """When frames leave, and what is told of it."""
    exact: ExactClip | None = None
    """How to make a whole clip as the authors do, if asked."""


def window_spec(settings: Settings) -> WindowSpec:
    """Returns how speech is cut into windows."""
    return WindowSpec(
        ladder=settings.window_ladder,
        overlap=settings.overlap_frames,
        audio_lookahead=settings.audio_lookahead_frames,
        audio_left_context=settings.audio_left_context_frames,
    )


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
            ManifestError: its engines do not take windows so long, it has no way to encode the
                prompts, a prompt is too long, or a default is out of range or of no use to its
                variant.
        """
        self._check_windows()
        self._check_defaults()
        self._check_prompts()

    def _check_prompts(self) -> None:
        repository, longest = self.settings.repository, self.settings.max_prompt_bytes
        defaults = {name: getattr(self.generation, name) for name in ("prompt", "negative_prompt")}
        styles = {f"style {name} of {repository}": of for name, of in self.styles.items()}
        for name, prompt in (defaults | styles).items():
            length = len(prompt.encode())
            if length > longest:
                raise ManifestError(f"{name} has {length} bytes, but max_prompt_bytes is {longest}")
        for name, prompt in defaults.items():
            if not self.offers_prompt(prompt):
                raise ManifestError(
                    f"{name} is none of the prompts that {repository} has encoded, and it has no "
                    "text_encoder"
                )

    def _check_defaults(self) -> None:
        settings, variant = self.settings, self.manifest.variant
        for name, setting in SETTINGS.items():
            if getattr(settings, name, None) is not None and not setting.serves(variant):
                raise ManifestError(
                    f"{name} has no effect with flash, which {settings.repository} holds"
                )
        if self.generation.steps > settings.max_steps:
            raise ManifestError(
                f"steps is {self.generation.steps}, but max_steps is {settings.max_steps}"
            )
        for name, setting in SETTINGS.items():
            low, high = setting.range or (0, 0)
            if setting.range and not low <= getattr(self.generation, name) <= high:
                raise ManifestError(f"{name} is not between {low:g} and {high:g}")

    def _check_windows(self) -> None:
        longest, asked = self.manifest.max_window_frames, self.windows.longest
        if longest is not None and asked > longest:
            raise ManifestError(
                f"window_ladder goes up to {asked}, but the engines of {self.settings.repository} "
                f"take {longest} frames at most"
            )

    @property
    def has_light_decoder(self) -> bool:
        """Whether there is a lighter decoder beside the usual one."""
        return LIGHT_DECODER.name in self.manifest.networks

    def rungs(self, size: tuple[int, int]) -> Rungs | None:
        """Returns what a stream of a size may be lowered to where memory is short, if anything."""
        if not self.settings.lower_when_out_of_memory:
            return None
        width, height = size
        smaller = [(w, h) for w, h in self.sizes if w < width and w * height == h * width]
        return Rungs(self.windows.ladder, self.has_light_decoder, tuple(smaller))

    @property
    def idle_modes(self) -> tuple[IdleMode, ...]:
        """What may be shown while nobody speaks; the first is the default of who wants anything."""
        return ("warp", *ALWAYS_IDLE) if self.has_mesh else ALWAYS_IDLE

    @property
    def has_mesh(self) -> bool:
        """Whether lids can be found, for blinks."""
        return has_mesh(frozenset(self.manifest.networks))

    @property
    def styles(self) -> Mapping[str, str]:
        """Prompts by name: the repository's own if it states any."""
        return self.manifest.styles or STYLES

    @property
    def presets(self) -> Mapping[str, int]:
        """Steps by name, as far as they are allowed."""
        most = self.settings.max_steps
        return {name: steps for name, steps in PRESETS.items() if steps <= most}

    @property
    def free_prompts(self) -> bool:
        """Whether there is a network that encodes any prompt."""
        return not self.manifest.styles or "text_encoder" in self.manifest.networks

    def offers_prompt(self, prompt: str) -> bool:
        """Tells whether a prompt can be used; an empty one can where it is not used at all."""
        return self.free_prompts or prompt in ("", *self.styles.values())

    def range_of(self, name: str) -> tuple[float, float] | None:
        """Returns lowest and highest value of a setting that is a number, here."""
        most = SETTINGS[name].range
        return most and (most[0], self.settings.max_steps if name == "steps" else most[1])

    @property
    def windows(self) -> WindowSpec:
        """How speech is cut into windows."""
        return window_spec(self.settings)

    @property
    def generation(self) -> GenerationSettings:
        """What a call gets that states nothing.

        The authors' settings, under the repository's own prompts, under the operator's.
        """
        settings, variant = self.settings, self.manifest.variant
        stated = {name: getattr(settings, name, None) for name in SETTINGS}
        if stated["steps"] is None and settings.preset is not None:
            stated["steps"] = PRESETS[settings.preset]
        strength = style_strength(variant)
        if stated[strength] is None:
            stated[strength] = settings.style_cfg
        if stated["prompt"] is not None:
            stated["prompt"] = self.styles.get(stated["prompt"], stated["prompt"])
        own = {name: value for name, value in stated.items() if value is not None}
        return replace(VARIANT_DEFAULTS[variant], **self._prompts_of_repository() | own)

    def _prompts_of_repository(self) -> dict[str, str]:
        styles = dict(self.manifest.styles)
        negative = styles.pop(NEGATIVE, None)
        prompts = {"prompt": next(iter(styles.values()), None), "negative_prompt": negative}
        return {name: prompt for name, prompt in prompts.items() if prompt is not None}
