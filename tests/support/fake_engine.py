"""An engine without Triton: cheap, deterministic, and every output depends on every input."""

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from functools import cache, partial
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.audio.frame_rate import conv_frames
from server.triton.contract import PORTRAIT_NETWORKS, Arrays, Network, check
from server.triton.engine import Engine, Priority
from tests.support.paths import ROOT

Array = NDArray[Any]
DEMO_MODELS = ROOT / "export" / "demo" / "model_repository"
WIDTH = 8


class FakeEngine(Engine):
    """Answers as the contract says; counts its executions and can be made slow or broken."""

    def __init__(self) -> None:
        self.executions: list[str] = []
        self.priorities: list[Priority] = []
        self.delay_s = 0.0
        self.error: Exception | None = None

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, Array]:
        check(network.inputs, inputs, where=network.name)
        self.executions.append(network.name)
        self.priorities.append(priority)
        await asyncio.sleep(self.delay_s)
        if self.error is not None:
            # A new one each time, as of a real engine.
            raise copy(self.error)
        compute = PREVIEW if "face_mask" in inputs or set(inputs) == {"waveform"} else NETWORKS
        results = compute[network.name](**inputs)
        wanted = {name: results[name] for name in outputs or results}
        check([t for t in network.outputs if t.name in wanted], wanted, where=network.name)
        return wanted


def audio_encoder(waveform: Array, low: Array, high: Array, weight: Array) -> dict[str, Array]:
    energy = np.add.reduceat(np.abs(waveform), np.arange(0, waveform.shape[1], 640), axis=1)
    features = np.tile(energy[..., None, None], (1, 1, 12, WIDTH))
    mix = ((low + high)[..., None, None] % 7) * weight[..., None, None]
    return {"features": (features / 640 + 0.01 * mix).astype(np.float32)}


def image_encoder(image: Array) -> dict[str, Array]:
    mean = image.mean(axis=(1, 2, 3), dtype=np.float32)
    return {"image_tokens": np.tile((mean / 255)[:, None, None], (1, 257, WIDTH))}


def text_encoder(token_ids: Array, mask: Array) -> dict[str, Array]:
    text = (token_ids * mask)[..., None] * np.ones(WIDTH, np.float32) / 1000
    return {"text": text.astype(np.float32)}


def vae_encoder(known: Array, grey: Array) -> dict[str, Array]:
    level = known.mean(axis=4, dtype=np.float32) / 127.5 - 1
    others = np.broadcast_to(grey[..., None, None], (*grey.shape, *level.shape[2:]))
    pooled = np.concatenate([level, others], axis=1)[:, ::4, ::8, ::8]
    return {"latents": np.repeat(pooled[:, None], 16, axis=1).astype(np.float32)}


def denoiser(
    latents: Array,
    condition: Array,
    timestep: Array,
    text: Array,
    image_tokens: Array,
    audio: Array,
    audio_gain: Array,
) -> dict[str, Array]:
    heard = audio.mean((2, 3))[:, 2:-2:4]
    rows = [
        _row(latents, condition, timestep, text, image_tokens, heard * gain[:, None])
        for gain in audio_gain.T
    ]
    return _stacked(rows)


def _stacked(rows: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([row[name] for row in rows], axis=1) for name in rows[0]}


def _row(
    latents: Array,
    condition: Array,
    timestep: Array,
    text: Array,
    image_tokens: Array,
    heard: Array,
) -> dict[str, Array]:
    def spread(values: Array) -> Array:
        return values.reshape(-1, 1, 1, 1, 1)

    steady = text.sum((1, 2)) / 4096 + image_tokens.mean((1, 2)) + timestep[:, 0] / 1000
    target = condition.mean(1, keepdims=True) + heard[:, None, :, None, None]
    target = target + 0.01 * spread(steady)
    tokens = int(np.prod(latents.shape[2:])) // 4
    residual = np.tile(target.mean((1, 2, 3, 4))[:, None, None], (1, tokens, WIDTH))
    return {
        "velocity": (latents - target).astype(np.float32),
        "residual": residual.astype(np.float32),
    }


def preview_audio_encoder(waveform: Array) -> dict[str, Array]:
    tokens = conv_frames(waveform.shape[1])
    energy = np.abs(waveform[:, : tokens * 320]).reshape(len(waveform), tokens, 320).mean(2)
    return {"features": np.tile(energy[..., None], (1, 1, WIDTH)).astype(np.float32)}


def preview_denoiser(
    text: Array,
    text_gain: Array,
    audio: Array,
    audio_gain: Array,
    audio_index: Array,
    face_mask: Array,
    audio_scale: Array,
    **inputs: Array,
) -> dict[str, Array]:
    padded = np.concatenate([audio, np.zeros_like(audio[:, :1])], axis=1)
    heard = np.stack([row[index] for row, index in zip(padded, audio_index, strict=True)])
    strength = audio_scale[:, 0] * face_mask.mean((1, 2))
    heard = heard.mean((2, 3)) * strength[:, None]
    texts = np.einsum("brt,btlw->rblw", text_gain, text)
    rows = [
        _row(text=of_row, heard=heard * gain[:, None], **inputs)
        for of_row, gain in zip(texts, audio_gain.T, strict=True)
    ]
    return _stacked(rows)


def face_detector(image: Array) -> dict[str, Array]:
    """Sees one face: what is brighter than 200, if anything is."""
    bright = image.mean(axis=1)[:, 2::4, 2::4] > 200
    heatmap = np.zeros((len(image), 1, *bright.shape[1:]), np.float32)
    log_size, offset = np.zeros((2, len(image), 2, *bright.shape[1:]), np.float32)
    for picture, cells in enumerate(bright):
        if cells.any():
            inside = np.argwhere(cells)
            first, last = inside.min(axis=0), inside.max(axis=0)
            row, column = (first + last) // 2
            heatmap[picture, 0, row, column] = 0.9
            log_size[picture, :, row, column] = np.log(last - first + 1)
            offset[picture, :, row, column] = (first + last) % 2 / 2
    return {"heatmap": heatmap, "log_size": log_size, "offset": offset}


def time_modulation(timestep: Array) -> dict[str, Array]:
    return {"modulation": np.tile(1 + timestep[..., None] / 1000, (1, 6, WIDTH))}


def denoiser_cached(
    latents: Array, condition: Array, timestep: Array, residual: Array
) -> dict[str, Array]:
    target = residual.mean((2, 3)) + 0.01 * timestep / 1000
    velocity = (latents - condition.mean(1, keepdims=True))[:, None]
    return {"velocity": (velocity - target[..., None, None, None, None]).astype(np.float32)}


def vae_decoder(latents: Array) -> dict[str, Array]:
    frames = 4 * (latents.shape[2] - 1) + 1
    large = latents[:, :3].repeat(8, axis=3).repeat(8, axis=4).repeat(4, axis=2)[:, :, :frames]
    ramp = np.linspace(0, 0.2, frames, dtype=np.float32)[:, None, None]
    video = np.clip(large + ramp, -1, 1).astype(np.float32)
    pictures = ((video / 2 + 0.5) * 255).astype(np.uint8).transpose(0, 2, 3, 4, 1)
    return {"frames": np.ascontiguousarray(pictures), "video": video}


def vae_decoder_light(latents: Array) -> dict[str, Array]:
    """Draws darker pictures than the other one."""
    decoded = vae_decoder(latents)
    return {"frames": decoded["frames"] // 2, "video": (decoded["video"] - 1) / 2}


def shipped(name: str, image: Array) -> dict[str, Array]:
    """Looks at portraits with the networks that the demo ships, which are quick."""
    outputs = [tensor.name for tensor in PORTRAIT_NETWORKS[name].outputs]
    results = _session(name).run(outputs, {"image": image})
    return {each: np.asarray(result) for each, result in zip(outputs, results, strict=True)}


@cache
def _session(name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(DEMO_MODELS / name / "1" / "model.onnx", options)


NETWORKS: dict[str, Callable[..., dict[str, Array]]] = {
    "audio_encoder": audio_encoder,
    "image_encoder": image_encoder,
    "text_encoder": text_encoder,
    "vae_encoder": vae_encoder,
    "denoiser": denoiser,
    "time_modulation": time_modulation,
    "denoiser_cached": denoiser_cached,
    "vae_decoder": vae_decoder,
    "vae_decoder_light": vae_decoder_light,
    "face_detector": face_detector,
    **{name: partial(shipped, name) for name in PORTRAIT_NETWORKS},
}
PREVIEW = NETWORKS | {"audio_encoder": preview_audio_encoder, "denoiser": preview_denoiser}
