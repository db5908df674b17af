"""The reference's cases of single networks, as an engine takes them: the contract's own inputs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.models.denoiser.config import Riflex
from server.audio.frame_rate import conv_frames, interpolation
from server.audio.token_windows import window_index
from server.triton.contract import (
    IMAGE_ENCODER,
    NETWORKS,
    TEXT_ENCODER,
    VAE_DECODER,
    Arrays,
    Network,
    Variant,
)
from server.triton.engine import Engine
from tests.support import denoiser_reference
from tests.support.authors_networks import DENOISER_OF_WINDOWS, VAE_ENCODER_OF_VIDEO
from tests.support.reference import reference_fixture

TOLERANCE = 1e-4
FLASH_AUDIO_TOLERANCE = 2e-4


@dataclass(frozen=True)
class NetworkCase:
    """One call of a network, and what the authors' program gave."""

    fixture: str
    name: str
    variant: Variant
    network: Network
    inputs: Arrays
    output: str
    expected: NDArray[np.float32]
    riflex: Riflex | None = None
    tolerance: float = TOLERANCE

    async def run(self, engine: Engine) -> NDArray[np.float32]:
        """Returns the output on an engine."""
        result = (await engine.run(self.network, self.inputs, [self.output]))[self.output]
        # Of a padded text the reference stores the first positions only.
        return result[:, : self.expected.shape[1]] if self.output == "text" else result


def network_cases() -> Iterator[NetworkCase]:
    """Yields every case that one call makes."""
    yield from _flash_audio()
    yield from _preview_audio()
    yield from _text()
    yield from _image()
    yield from _vae()
    yield from _flash_denoiser()
    yield from _preview_denoiser()


def _flash_audio() -> Iterator[NetworkCase]:
    fixture = reference_fixture("audio_flash")
    for case in fixture.config["cases"]:
        name, frames = case["name"], case["frames"]
        waveform = fixture.outputs[f"{name}.input_values"]
        rows = interpolation(conv_frames(len(waveform)), frames)
        inputs = {"waveform": waveform, **dict(zip(("low", "high", "weight"), rows, strict=True))}
        yield NetworkCase(
            "audio_flash",
            name,
            "flash",
            NETWORKS["flash"]["audio_encoder"],
            {name: array[None] for name, array in inputs.items()},
            "features",
            fixture.outputs[f"group.{name}.features"][None],
            tolerance=FLASH_AUDIO_TOLERANCE,
        )


def _preview_audio() -> Iterator[NetworkCase]:
    fixture = reference_fixture("audio_preview")
    for name in (case["name"] for case in fixture.config["cases"]):
        yield NetworkCase(
            "audio_preview",
            name,
            "preview",
            NETWORKS["preview"]["audio_encoder"],
            {"waveform": fixture.outputs[f"{name}.input_values"]},
            "features",
            fixture.outputs[f"{name}.features"][None],
        )


def _text() -> Iterator[NetworkCase]:
    fixture = reference_fixture("text_encoder")
    for name in fixture.config["cases"]:
        ids, mask = fixture.inputs[f"{name}.ids"], fixture.inputs[f"{name}.mask"]
        expected = fixture.outputs[f"{name}.embeds"]
        # What is masked is zero here; upstream cuts it off later.
        visible = mask[:, : expected.shape[1], None].astype(np.float32)
        inputs = {"token_ids": ids, "mask": mask}
        yield NetworkCase(
            "text_encoder", name, "flash", TEXT_ENCODER, inputs, "text", expected * visible
        )


def _image() -> Iterator[NetworkCase]:
    fixture = reference_fixture("image_encoder")
    for name in fixture.config["cases"]:
        image = fixture.inputs[f"{name}.image_u8"][None]
        expected = fixture.outputs[f"{name}.out"]
        yield NetworkCase(
            "image_encoder",
            name,
            "flash",
            IMAGE_ENCODER,
            {"image": image},
            "image_tokens",
            expected,
        )


def _vae() -> Iterator[NetworkCase]:
    fixture = reference_fixture("vae")
    for key, array in fixture.inputs.items():
        name, _, kind = key.partition(".")
        if kind == "video":
            expected = fixture.outputs[f"{name}.mode"]
            inputs = {"video": array}
            yield NetworkCase(
                "vae", name, "flash", VAE_ENCODER_OF_VIDEO, inputs, "latents", expected
            )
        else:
            expected = fixture.outputs[f"{name}.sample"]
            yield NetworkCase(
                "vae", name, "flash", VAE_DECODER, {"latents": array}, "video", expected
            )


def _flash_denoiser() -> Iterator[NetworkCase]:
    for case in denoiser_reference.cases(reference_fixture("denoiser_flash")):
        inputs = _noisy(case) | {
            "text": case.text.numpy(),
            "audio": case.inputs["audio_embeds"].numpy(),
        }
        yield _denoiser_case("flash", DENOISER_OF_WINDOWS, case, inputs, case.outputs["out"])


def _preview_denoiser() -> Iterator[NetworkCase]:
    """Yields the cases as streams of one row each."""
    for case in denoiser_reference.cases(reference_fixture("denoiser_preview")):
        audio = case.inputs["audio_embeds"].numpy()
        batch, _, _, height, width = case.inputs["x"].shape
        mask = np.ones((batch, height // 2, width // 2), np.float32)
        given = case.inputs["ip_mask"].numpy()
        if len(given) == batch:
            mask = given.reshape(mask.shape)
        inputs = _noisy(case) | {
            "text": case.text.numpy()[:, None],
            "text_gain": np.ones((batch, 1, 1), np.float32),
            "audio": audio,
            "audio_gain": np.ones((batch, 1), np.float32),
            "audio_index": np.tile(window_index(audio.shape[1]), (batch, 1, 1)),
            "face_mask": mask,
            "audio_scale": np.full((batch, 1), case.settings["scale"], np.float32),
        }
        network = NETWORKS["preview"]["denoiser"]
        yield _denoiser_case("preview", network, case, inputs, case.outputs["out"][:, None])


def _noisy(case: denoiser_reference.Case) -> dict[str, NDArray[Any]]:
    return {
        "latents": case.inputs["x"].numpy(),
        "condition": case.inputs["y"].numpy(),
        "timestep": case.inputs["t"].numpy()[:, None],
        "image_tokens": case.inputs["clip_fea"].numpy(),
    }


def _denoiser_case(
    variant: Variant,
    network: Network,
    case: denoiser_reference.Case,
    inputs: Arrays,
    expected: NDArray[np.float32],
) -> NetworkCase:
    return NetworkCase(
        f"denoiser_{variant}",
        case.settings["name"],
        variant,
        network,
        inputs,
        "velocity",
        expected,
        riflex=case.riflex,
    )
