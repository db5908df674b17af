"""Whole runs of the authors' programs, run again by the gateway's own stages on any engine.

Names and keys are those of the reference's config.json: upstream's own options.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from export.models.denoiser.config import Riflex
from server.animation.cache import ByteCache
from server.animation.clip import ExactClip, animate_clip, clip_frames
from server.animation.condition import Conditioner
from server.animation.generation import Noise, direct
from server.animation.samplers.sampler import SamplerName
from server.animation.teacache import Policy, TeaCache
from server.animation.variant import generation, in_exact_clip, needs_negative_text
from server.audio.clock import MODEL_RATE_HZ
from server.audio.resampler import Resampler
from server.pictures.face import FaceBox, everywhere, face_mask
from server.pictures.portrait import Placement, whole
from server.sessions.jobs import GenerationSettings
from server.triton.contract import TEXT_TOKENS, Arrays, Network, Variant, latent_frames
from server.triton.engine import Engine, Priority
from tests.support.reference import ReferenceFixture, reference_fixture

SAMPLERS: dict[str, SamplerName] = {
    "Flow_Unipc": "flow_unipc",
    "Flow": "flow_euler",
    "Flow_DPM++": "flow_dpmpp",
}
POLICIES: dict[Variant, Policy] = {"flash": "shared", "preview": "per_branch"}


class TableTokenizer:
    """The reference's stand-in for a tokenizer: whole prompts to ids."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._ids = config["tokenizer_table"]
        self._pad = config["tokenizer_pad_id"]

    def __call__(self, prompt: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        ids = np.array(self._ids[prompt], np.int64)
        missing = (0, TEXT_TOKENS - len(ids))
        padded = np.pad(ids, missing, constant_values=self._pad)
        return padded[None], np.pad(np.ones_like(ids), missing)[None]


class Recorder(Engine):
    """An engine that remembers what the networks of another one got and gave."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.inputs: list[tuple[str, Arrays]] = []
        self.outputs: list[tuple[str, Arrays]] = []

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        result = await self._engine.run(
            network, inputs, outputs, priority=priority, timeout_s=timeout_s
        )
        self.inputs.append((network.name, inputs))
        self.outputs.append((network.name, result))
        return result

    def given(self, network: str, tensor: str) -> list[NDArray[Any]]:
        """What a network got, call by call."""
        return [arrays[tensor] for name, arrays in self.inputs if name == network]

    def made(self, network: str, tensor: str) -> list[NDArray[Any]]:
        """What a network gave, call by call."""
        return [arrays[tensor] for name, arrays in self.outputs if name == network]


@dataclass(frozen=True)
class Case:
    """A run of the reference."""

    fixture: ReferenceFixture
    variant: Variant
    name: str
    case: dict[str, Any]

    @cached_property
    def options(self) -> dict[str, Any]:
        """Upstream's options, defaults filled in."""
        if self.variant == "flash":
            return self.fixture.config["default_args"] | self.case["args"]
        return self.fixture.config["upstream_default_config"] | self.case["config"]

    @property
    def recorded(self) -> dict[str, Any]:
        return self.fixture.config["recorded"][self.name]

    @property
    def exact(self) -> ExactClip:
        if self.variant == "flash":
            return ExactClip(window_frames=self.options["video_length"])
        return ExactClip(
            window_frames=self.options["partial_video_length"],
            overlap_frames=self.options["overlap_video_length"],
            blend_latents=self.options["use_longvideo_cfg"],
        )

    @property
    def settings(self) -> GenerationSettings:
        options = self.options
        settings = GenerationSettings(
            prompt=self.case.get("prompt") or options["prompt"],
            negative_prompt=options["negative_prompt"],
            steps=options["num_inference_steps"],
            audio_guidance=options["audio_guidance_scale"],
            sampler=SAMPLERS[options["sampler_name"]],
            shift=options["shift"],
            guidance_skip_ratio=options["cfg_skip_ratio"],
            teacache=self._teacache,
        )
        if self.variant == "flash":
            # There it only decides whether speech guides.
            return settings if self.guided else replace(settings, audio_guidance=1.0)
        settings = replace(
            settings,
            text_guidance=options["guidance_scale"],
            dynamic_audio_guidance=options["use_dynamic_acfg"],
            dynamic_text_guidance=options["use_dynamic_cfg"],
            negative_prompt_scale=options["neg_scale"],
            negative_prompt_steps=options["neg_steps"],
            audio_scale=options["audio_scale"],
        )
        return in_exact_clip(settings, self.variant, blends=options["use_longvideo_cfg"])

    @property
    def guided(self) -> bool:
        return self.options["guidance_scale"] > 1

    @property
    def riflex(self) -> Riflex | None:
        options = self.options
        if not options["enable_riflex"]:
            return None
        return Riflex(options["riflex_k"], latent_frames(self.recorded["num_frames"]))

    @property
    def _teacache(self) -> TeaCache | None:
        options = self.options
        if not options["enable_teacache"]:
            return None
        policy = POLICIES[self.variant]
        return TeaCache(policy, options["teacache_threshold"], options["num_skip_start_steps"])

    def noise(self) -> Noise:
        """Upstream's initial latents, window by window."""
        keys = sorted(key for key in self.fixture.inputs if key.startswith(f"{self.name}."))
        recorded = iter(self.fixture.inputs[key] for key in keys)

        def take(shape: tuple[int, ...]) -> NDArray[np.float32]:
            latents = next(recorded)
            assert latents.shape == shape
            return latents

        return take

    def picture(self) -> NDArray[np.uint8]:
        width, height = self.options["sample_size"]
        with Image.open(self.fixture.folder / self.case["image"]) as image:
            return whole(image.convert("RGB"), (width, height), self.variant, field="image")[0]

    def face_mask(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width, _ = picture.shape
        # Upstream makes three rows of the mask and, without guidance, drops it for having three.
        if self.variant == "flash" or not self.guided:
            return everywhere(width, height)
        top, bottom, left, right, mask_height, mask_width = self.case["face_mask_npy"]
        scale = math.sqrt(height * width / (mask_height * mask_width))
        return face_mask(FaceBox(left, top, right, bottom), Placement(width, height, scale))

    def samples(self) -> NDArray[np.float32]:
        data, rate = soundfile.read(self.fixture.folder / self.case["wav"], dtype="float32")
        mono = data.reshape(len(data), -1).mean(axis=1, dtype=np.float32)
        resampler = Resampler(rate)
        return np.concatenate([resampler.push(mono), resampler.finish()])

    async def run(self, engine: Engine) -> tuple[Recorder, NDArray[np.float32]]:
        """Runs the case; returns what the networks got and gave, and the video [1, 3, F, H, W]."""
        recorder = Recorder(engine)
        conditioner = Conditioner(recorder, TableTokenizer(self.fixture.config), ByteCache(0))
        picture = self.picture()
        how = generation(self.settings, self.variant, self.face_mask(picture))
        negative = self.settings.negative_prompt if needs_negative_text(how.guidance) else None
        avatar = await conditioner.avatar(picture, self.settings.prompt, negative)
        direction = await direct(recorder, avatar, how)
        samples = self.samples()
        frames = clip_frames(len(samples), MODEL_RATE_HZ, self.exact, self.variant)
        pieces = [
            piece
            async for piece in animate_clip(
                recorder, conditioner, direction, samples, frames, self.exact, self.noise()
            )
        ]
        return recorder, np.concatenate(pieces, axis=1)[None]


def cases(variant: Variant) -> Iterator[Case]:
    """Yields the runs of a variant."""
    fixture = reference_fixture(f"pipeline_{variant}")
    for case in fixture.config["cases"]:
        yield Case(fixture, variant, case["name"], case)
