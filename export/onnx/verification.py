"""How far a repository's ONNX files are from the checkpoint in float32, and what frames make of it.

Each network is run on random inputs, as a torch module in float32 and as its ONNX file. Then a few
denoising steps and the decoder make frames both ways, each network taking what the one before it
made, so that errors add up as they do when serving. A lighter decoder is compared with the
checkpoint's own, on the same latents.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers.models.umt5.modeling_umt5 import UMT5Block

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.exportable import Build, Exportable, Inputs, Shape
from export.networks.text_encoder import text_encoder
from export.onnx.graph import open_session
from export.repository.exporter import VERSION
from export.repository.model_config import MODEL_FILE
from export.repository.origin import noted_decoder
from server.animation.samplers.sampler import make_sampler
from server.manifest import Manifest, ManifestError, read_manifest
from server.triton.contract import LIGHT_DECODER, SERVED, VAE_DECODER, cast

Arrays = dict[str, NDArray[np.float64]]
Run = Callable[[Inputs], Arrays]
Report = Callable[[str], None]

STEPS = 4
SEED = 0


@dataclass(frozen=True, slots=True)
class Error:
    """The error of one output, over all its values; ``relative`` is that of the norm."""

    network: str
    output: str
    precision: str
    largest: float
    mean: float
    relative: float


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found.

    Attributes:
        errors: of every output.
        psnr_db: of frames after STEPS steps, if they were made.
        decoder: the light decoder that the repository has, if it has one.
        decoder_psnr_db: of its frames against those of the checkpoint's own.
    """

    errors: Sequence[Error]
    psnr_db: float | None = None
    decoder: str | None = None
    decoder_psnr_db: float | None = None


def verify(
    repository: Path,
    checkpoint: Checkpoint,
    shape: Shape,
    report: Report,
    names: Sequence[str] | None = None,
    portrait: NDArray[np.uint8] | None = None,
) -> Verification:
    """Compares a repository with its checkpoint. One network at a time is in memory.

    Args:
        repository: of ONNX files.
        checkpoint: what it was exported from.
        shape: of the inputs.
        report: told what is being done.
        names: of the networks; all that the repository and the checkpoint have, by default. Frames
            take the denoiser and the decoder.
        portrait: [H, W, 3] of that shape, whose latents a light decoder is compared on; without one
            those of the denoising steps.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        GraphError: an ONNX file is missing or damaged.
        ManifestError: the repository cannot be used, or is that of another checkpoint.
    """
    described = read_manifest(repository)
    if described.checkpoint_digest != checkpoint.digest():
        raise ManifestError(
            f"{repository} was exported from checkpoint {described.checkpoint_digest}, "
            f"not from {checkpoint.root} ({checkpoint.digest()})"
        )
    builds: dict[str, Build] = {**networks(checkpoint), "text_encoder": exact_text_encoder}
    errors: list[Error] = []
    present = [name for name in builds if name in described.networks]
    if missing := set(names or ()) - set(present):
        raise ManifestError(
            f"{repository} has no {', '.join(sorted(missing))}, only {', '.join(present)}"
        )
    light = LIGHT_DECODER.name if LIGHT_DECODER.name in described.networks else VAE_DECODER.name
    decoder = noted_decoder(repository / light / VERSION)
    if decoder is not None and described.networks[light].precision == "bf16":
        raise ManifestError(
            f"{repository} has the decoder {decoder} in bf16, which ONNX Runtime does not compute "
            "on a CPU: export it with --vae-precision fp16 or fp32 to compare it"
        )
    verified = [name for name in present if name in (names or present)]
    for name in verified:
        report(f"{name}: torch, then ONNX Runtime")
        precision = described.networks[name].precision
        exact = builds[name](checkpoint)
        inputs = _inputs(exact, shape)
        expected = _torch(exact)(inputs)
        del exact
        actual = _served(repository, checkpoint, described, name)(inputs)
        errors += [
            _error(name, output, precision, actual[output], expected[output]) for output in expected
        ]
    if not {"denoiser", "vae_decoder"} <= set(verified):
        return Verification(errors)

    def exactly(name: str) -> Run:
        return _torch(builds[name](checkpoint))

    def as_served(name: str) -> Run:
        return _served(repository, checkpoint, described, name)

    inputs = _inputs(builds["denoiser"](checkpoint), shape)
    report("frames by torch")
    latents = _denoise(exactly("denoiser"), inputs)
    expected = _video(exactly, latents)
    report("frames by ONNX Runtime")
    actual = _video(as_served, _denoise(as_served("denoiser"), inputs))
    psnr_db = _psnr(actual, expected)
    if decoder is None:
        return Verification(errors, psnr_db)
    report("frames by both decoders")
    if portrait is not None:
        latents = _still(exactly, portrait, shape)
        expected = _video(exactly, latents)
    lightly = _video(as_served, latents, light)
    return Verification(errors, psnr_db, decoder, _psnr(lightly, expected))


def _video(
    runs: Callable[[str], Run], latents: NDArray[np.float32], decoder: str = VAE_DECODER.name
) -> NDArray[np.float64]:
    """Returns video [B, 3, F, H, W]."""
    return runs(decoder)({"latents": torch.from_numpy(latents)})["video"]


def _still(
    runs: Callable[[str], Run], portrait: NDArray[np.uint8], shape: Shape
) -> NDArray[np.float32]:
    """Returns the latents of a film in which nothing moves."""
    # Copied, since torch warns about arrays that cannot be written to.
    film = torch.from_numpy(portrait.copy())[None, None].expand(1, shape.video_frames, -1, -1, -1)
    latents = runs("vae_encoder")({"known": film, "grey": torch.zeros(1, 0)})["latents"]
    return latents.astype(np.float32)


def _denoise(run: Run, inputs: Inputs) -> NDArray[np.float32]:
    sampler = make_sampler("flow_euler", steps=STEPS, shift=5.0, constructor_shift=1.0)
    state = sampler.start(inputs["latents"].numpy())
    for timestep in sampler.timesteps:
        now = {
            "latents": torch.from_numpy(np.asarray(state.latents, np.float32)),
            "timestep": torch.full_like(inputs["timestep"], timestep),
        }
        # The first row hears; guidance is left out.
        velocity = run(inputs | now)["velocity"][:, 0]
        state = sampler.step(state, velocity.astype(np.float32))
    return np.asarray(state.latents, np.float32)


def exact_text_encoder(checkpoint: Checkpoint) -> Exportable:
    """Returns umT5 computing in float32, one block widened at a time: it has 23 GB in float32."""
    with checkpoint.fitting(layout.TEXT_ENCODER) as weights:
        stored = {tensor.dtype for tensor in weights.values()}
    if stored != {torch.bfloat16}:
        return text_encoder(checkpoint)
    exact = text_encoder(checkpoint, "bf16")
    for layer in exact.module.modules():
        if isinstance(layer, UMT5Block):
            layer.register_forward_pre_hook(_widen)
            layer.register_forward_hook(_narrow)
    return exact


def _widen(block: nn.Module, _inputs: object) -> None:
    block.float()


def _narrow(block: nn.Module, _inputs: object, _output: object) -> None:
    block.bfloat16()


def _inputs(exportable: Exportable, shape: Shape) -> Inputs:
    torch.manual_seed(SEED)
    return exportable.inputs(shape)


def _torch(exportable: Exportable) -> Run:
    names = [tensor.name for tensor in exportable.network.outputs]

    def run(inputs: Inputs) -> Arrays:
        with torch.inference_mode():
            results = exportable.module(*inputs.values())
        outputs = results if isinstance(results, tuple) else (results,)
        return {n: t.double().numpy() for n, t in zip(names, outputs, strict=True)}

    return run


def _served(repository: Path, checkpoint: Checkpoint, described: Manifest, name: str) -> Run:
    """Returns what the repository computes.

    ONNX Runtime has no bf16 on a CPU: there the module in bf16 stands in for its ONNX file.
    """
    precision = described.networks[name].precision
    if precision == "bf16":
        return _torch(networks(checkpoint, "bf16")[name](checkpoint))
    network = SERVED[described.variant][name].on_the_wire(precision)
    session = open_session(repository / name / VERSION / MODEL_FILE)
    names = [output.name for output in session.get_outputs()]

    def run(inputs: Inputs) -> Arrays:
        given = {key: tensor.numpy() for key, tensor in inputs.items()}
        feeds = cast(network.inputs, given)
        results = session.run(names, feeds)
        return {n: np.asarray(r, np.float64) for n, r in zip(names, results, strict=True)}

    return run


def _error(
    network: str,
    output: str,
    precision: str,
    actual: NDArray[np.float64],
    expected: NDArray[np.float64],
) -> Error:
    difference = np.abs(actual - expected)
    relative = np.linalg.norm(difference) / np.linalg.norm(expected)
    return Error(
        network,
        output,
        precision,
        float(difference.max()),
        float(difference.mean()),
        float(relative),
    )


def _psnr(actual: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Returns the peak signal-to-noise ratio of video in [-1, 1]."""
    return float(-10 * np.log10(np.square((actual - expected) / 2).mean()))
