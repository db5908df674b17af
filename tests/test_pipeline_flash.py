"""The gateway's own stages, put together, against a whole run of the authors' program.

The networks run in torch; each equals its ONNX file within the tolerance of the export. The speech
enters as the features that the authors' run recorded.
"""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from export.denoiser_config import Riflex
from server.cache import ByteCache
from server.condition import Conditioner
from server.contract import TEXT_TOKENS, VAE_DECODER, latent_frames
from server.denoise import DenoiserInputs, denoise
from server.guidance import AUDIO, UNGUIDED, Guidance
from server.samplers.sampler import SamplerName, make_sampler
from tests.reference import ReferenceFixture, assert_close, reference_fixture
from tests.torch_engine import reference_engine

LATENT_TOLERANCE = 1e-3
VIDEO_TOLERANCE = 5e-4
SAMPLERS: dict[str, SamplerName] = {
    "Flow_Unipc": "flow_unipc",
    "Flow": "flow_euler",
    "Flow_DPM++": "flow_dpmpp",
}


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


@pytest.fixture(scope="module")
def fixture() -> ReferenceFixture:
    return reference_fixture("pipeline_flash")


async def run(fixture: ReferenceFixture, case: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """Runs a case; returns what the reference stores of it, under the same names."""
    name, args = case["name"], fixture.config["default_args"] | case["args"]
    recorded = fixture.config["recorded"][name]
    frames = recorded["num_frames"]
    riflex = Riflex(args["riflex_k"], latent_frames(frames)) if args["enable_riflex"] else None
    engine = reference_engine(riflex)
    conditioner = Conditioner(engine, TableTokenizer(fixture.config), ByteCache(0))
    with Image.open(fixture.folder / case["image"]) as image:
        size = (recorded["width"], recorded["height"])
        resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    avatar = await conditioner.avatar(np.asarray(resized), args["prompt"])
    condition = await conditioner.first_window(avatar.picture, frames)
    audio = fixture.outputs[recorded["audio_embeds_key"]]
    latents = await denoise(
        engine,
        DenoiserInputs(condition, avatar.text, avatar.image_tokens, audio),
        noise=fixture.inputs[f"{name}.init_latents"],
        sampler=make_sampler(
            SAMPLERS[args["sampler_name"]],
            steps=args["num_inference_steps"],
            shift=args["shift"],
        ),
        guidance=Guidance(
            rows=AUDIO if args["guidance_scale"] > 1 else UNGUIDED,
            audio_scale=args["audio_guidance_scale"],
            skip_ratio=args["cfg_skip_ratio"],
        ),
    )
    video = (await engine.run(VAE_DECODER, {"latents": latents}, ["video"]))["video"]
    return {
        "clip_context": avatar.image_tokens,
        "prompt_embeds": avatar.text[0],
        "y": condition,
        "latents": latents,
        "video": np.clip(video / 2 + 0.5, 0, 1),
    }


async def test_every_run_without_teacache_equals_the_authors(
    fixture: ReferenceFixture, subtests: pytest.Subtests
) -> None:
    defaults = fixture.config["default_args"]
    cases = [
        case for case in fixture.config["cases"] if not (defaults | case["args"])["enable_teacache"]
    ]
    assert cases
    for case in cases:
        name, ours, theirs = case["name"], await run(fixture, case), fixture.outputs
        with subtests.test(msg=name):
            tokens = len(theirs[f"{name}.prompt_embeds"])
            assert_close(
                ours["prompt_embeds"][:tokens], theirs[f"{name}.prompt_embeds"], LATENT_TOLERANCE
            )
            assert not ours["prompt_embeds"][tokens:].any()
            for stage in ("clip_context", "y"):
                assert_close(ours[stage], theirs[f"{name}.{stage}"], LATENT_TOLERANCE)
            final = theirs[f"{name}.latents_steps"][-1]
            assert_close(ours["latents"], final, LATENT_TOLERANCE)
            if case["stores_video"]:
                assert_close(ours["video"], theirs[f"{name}.video"], VIDEO_TOLERANCE)
