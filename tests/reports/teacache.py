"""What TeaCache saves and what it costs, under both policies.

python -m tests.reports.teacache REPOSITORY
"""

import argparse
import asyncio
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from server.animation.cache import ByteCache
from server.animation.clip import ExactClip, animate_clip
from server.animation.condition import Avatar, Conditioner
from server.animation.generation import direct, seeded_noise
from server.animation.teacache import Policy, TeaCache
from server.animation.tokens import PromptTokenizer
from server.animation.variant import generation
from server.manifest import TOKENIZER, read_manifest
from server.pictures.face import everywhere
from server.pictures.portrait import cropped
from server.sessions.jobs import VARIANT_DEFAULTS, GenerationSettings
from tests.reports.live import MEDIA, speech
from tests.reports.markdown import table, write_measured
from tests.support.onnx_engine import OnnxEngine
from tests.support.pipeline_reference import Recorder

FRAMES = 33
STEPS = (8, 25)
THRESHOLDS = (0.05, 0.1, 0.2)
WARM_UPS = (1, 3, 5)
NAMES: dict[Policy, str] = {"per_branch": "EXACT_BRANCHES", "shared": "UPSTREAM"}
INTRO = f"""One window of {FRAMES} frames with audio guidance, against the same run without
TeaCache: evaluations of the denoiser (a branch of a step counts as one), and PSNR of the frames.
Upstream's default is a threshold of 0.1 after 5 evaluations. A skipped evaluation costs one run of
`denoiser_cached`, which is the denoiser without its blocks. Rows of about equal evaluations compare
the policies; EXACT_BRANCHES is the default, since it kept more."""


@dataclass(frozen=True)
class Studio:
    """A repository at work on one clip."""

    repository: Path
    engine: OnnxEngine

    async def film(self, settings: GenerationSettings) -> tuple[NDArray[np.float32], int]:
        """Returns the video and how many branches were evaluated."""
        recorder = Recorder(self.engine)
        manifest = read_manifest(self.repository)
        avatar, conditioner = await self._avatar(recorder, settings, manifest.sizes[0])
        width, height = manifest.sizes[0]
        how = generation(settings, manifest.variant, everywhere(width, height))
        direction, noise = await direct(recorder, avatar, how), seeded_noise(settings.seed)
        exact = ExactClip(window_frames=FRAMES)
        samples = speech()
        video = [
            piece
            async for piece in animate_clip(
                recorder, conditioner, direction, samples, FRAMES, exact, noise
            )
        ]
        evaluations = sum(len(rows) for rows in recorder.given("denoiser", "latents"))
        return np.concatenate(video, axis=1), evaluations

    async def _avatar(
        self, engine: Recorder, settings: GenerationSettings, size: tuple[int, int]
    ) -> tuple[Avatar, Conditioner]:
        tokenizer = PromptTokenizer(self.repository / TOKENIZER)
        conditioner = Conditioner(engine, tokenizer, ByteCache(0))
        with Image.open(MEDIA / "portrait.png") as image:
            picture, _ = cropped(image.convert("RGB"), *size)
        return await conditioner.avatar(picture, settings.prompt), conditioner


def psnr(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """Returns the peak signal-to-noise ratio of video in [0, 1], in dB."""
    return float(-10 * np.log10(np.square(ours - theirs).mean()))


async def rows_of(studio: Studio, steps: int) -> list[tuple[object, ...]]:
    """Measures every policy at a number of steps, the cheapest last; equal results are one row."""
    settings = replace(VARIANT_DEFAULTS["flash"], steps=steps)
    plain, all_evaluations = await studio.film(settings)
    found: defaultdict[tuple[int, str, int, str], list[str]] = defaultdict(list)
    for policy, warm_up, threshold in product(get_args(Policy), WARM_UPS, THRESHOLDS):
        teacache = TeaCache(policy, threshold, warm_up)
        video, evaluations = await studio.film(replace(settings, teacache=teacache))
        quality = f"{psnr(video, plain):.1f}"
        found[-evaluations, NAMES[policy], warm_up, quality].append(f"{threshold:g}")
    return [
        (steps, f"{-less} of {all_evaluations}", policy, warm_up, ", ".join(thresholds), quality)
        for (less, policy, warm_up, quality), thresholds in sorted(found.items())
    ]


async def main(repository: Path) -> None:
    """Measures on a flash repository and writes the page."""
    studio = Studio(repository, OnnxEngine(repository))
    rows = [row for steps in STEPS for row in await rows_of(studio, steps)]
    write_measured(
        "teacache.md",
        "teacache",
        "TeaCache: what it saves and what it costs",
        f"{INTRO} Measured on the checkpoint `{read_manifest(repository).checkpoint_digest}`.",
        table(("steps", "evaluations", "policy", "warm-up", "threshold", "PSNR, dB"), rows),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path, help="a model repository of the flash variant")
    asyncio.run(main(parser.parse_args().repository))
