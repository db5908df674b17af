"""From a seed to the demo's checkpoint, in stages that each go on where they were stopped.

    random networks -> VAE -> Wav2Vec2 -> windows of talking -> denoiser -> decoder once more
                                                              -> a light decoder in its place

CLIP and umT5 keep their random weights: the denoiser learns to read them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import save_file
from torch import Tensor

from export.checkpoint import layout
from export.checkpoint.layout import Checkpoint
from export.checkpoint.tiny import Sizes, make_tiny
from export.demo.audio_training import AudioLoss, AudioStudent, lessons, new_wav2vec2
from export.demo.clips import Encoders, TrainingWindow, training_windows
from export.demo.denoiser_training import FlowLoss, new_denoiser
from export.demo.light_decoder import LightDecoderLoss, film
from export.demo.mouths import motion
from export.demo.training import Plan, Report, train
from export.demo.vae_training import (
    VaeLoss,
    VaeTwins,
    latent_statistics,
    new_vae,
    standardise,
    write_back,
)
from export.demo.voices import TRAINING, utterance
from export.models import audio_encoder
from export.models.vae import coder as vae
from export.models.vae import taehv
from export.models.vae.coder import VaeEncoder
from export.models.vae.taehv import TaehvDecoder, TaehvSizes
from export.networks.catalogue import BUILDS
from export.networks.exportable import Build
from server.animation.tokens import PromptTokenizer
from server.audio.pcm import Samples
from server.triton.contract import Variant

VARIANT: Variant = "flash"
SIZES = Sizes(
    denoiser={
        "model_type": "i2v",
        "patch_size": [1, 2, 2],
        "text_len": 64,
        "in_dim": 36,
        "dim": 128,
        "ffn_dim": 384,
        "freq_dim": 64,
        "text_dim": 64,
        "out_dim": 16,
        "num_heads": 4,
        "num_layers": 5,
        "eps": 1e-6,
    },
    audio_encoder={
        "hidden_size": 48,
        "num_hidden_layers": 12,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "conv_dim": [24] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    others={
        "vae_kwargs": {"dim": 8, "dim_mult": [1, 2, 4, 8], "num_res_blocks": 1},
        "text_encoder_kwargs": {
            "vocab": 512,
            "dim": 64,
            "dim_attn": 64,
            "dim_ffn": 128,
            "num_heads": 4,
            "num_layers": 2,
        },
        "image_encoder_kwargs": {"vision_dim": 48, "vision_heads": 4, "vision_layers": 3},
    },
    audio_hidden=128,
    audio_tokens=8,
    dtype=torch.float16,
)
PROMPTS = (
    "cinematic portrait, soft studio key light, shallow depth of field, filmic color",
    "professional headshot, natural daylight",
    "artistic painting",
    "natural daylight, a person is speaking",
    "a person is speaking",
    "",
)
VAE_RECORDINGS, VAE_RECORDING_S = 200, 4.0
AUDIO_RECORDINGS, AUDIO_RECORDING_S = 250, 6.0
WINDOWS = 2000
STAGES = VAE_STAGE, AUDIO_STAGE, DENOISER_STAGE, VAE_MORE_STAGE, DECODER_STAGE = 0, 1, 2, 3, 4
LIGHT_SEED, LIGHT_RECORDINGS, LIGHT_FILMS, LIGHT_STEPS = 1_000, 40, 400, 2000
"""No other stage draws from this seed."""
VAE_ENDS = ("conv_in", "conv_out")
LIGHT_DECODER = "taew2_1.safetensors"
LIGHT_SIZES = TaehvSizes(widths=(64, 32, 16, 16), patch=2)
LIGHT_ENDS = ("1.layer.weight", "22.layer.weight")


def train_demo(root: Path, work: Path, *, seed: int, report: Report) -> None:
    """Trains a checkpoint.

    Args:
        root: the folder of the checkpoint; files in it are replaced.
        work: where the stages keep what they have; an earlier run's is gone on with.
        seed: what everything comes from.
        report: told of the progress.
    """
    work.mkdir(parents=True, exist_ok=True)
    make_tiny(root, seed=seed, variant=VARIANT, sizes=SIZES)
    train_vae(root, work, seed, report)
    train_audio_encoder(root, work, seed, report)
    train_denoiser(root, work, seed, report)
    train_decoder(root, work, seed, report)
    train_light_decoder(root, work, seed, report)


def train_vae(root: Path, work: Path, seed: int, report: Report) -> None:
    """Trains the VAE and writes it into the checkpoint."""
    wan = new_vae(SIZES.others["vae_kwargs"], seed)
    twins = VaeTwins(wan)
    data_seed = _data_seed(seed, VAE_STAGE)
    recordings = _recordings(data_seed, VAE_RECORDINGS, VAE_RECORDING_S)
    motions = [motion(samples) for samples in recordings]
    more_seed = _data_seed(seed, VAE_MORE_STAGE)
    for plan, worn_share in (
        (Plan("vae", 7000, data_seed, muon_lr=0.012, adam_lr=4e-3, adam=VAE_ENDS), 0.5),
        (Plan("vae_more", 3000, more_seed, muon_lr=0.009, adam_lr=3e-3, adam=VAE_ENDS), 0.25),
    ):
        loss = VaeLoss(twins, motions, worn_share)
        train(twins, loss, plan, work, report)
    write_back(twins, wan)
    standardise(wan, *latent_statistics(wan, loss))
    torch.save(_half(vae.public_tensors(wan)), root / layout.VAE)


def train_decoder(root: Path, work: Path, seed: int, report: Report) -> None:
    """Trains the checkpoint's decoder further, on latents that stay as they are."""
    wan = _trained_vae(root)
    twins = VaeTwins(wan, decoder_only=True)
    data_seed = _data_seed(seed, DECODER_STAGE)
    recordings = _recordings(data_seed, VAE_RECORDINGS, VAE_RECORDING_S)
    loss = VaeLoss(twins, [motion(samples) for samples in recordings], worn_share=0.25)
    plan = Plan("decoder", steps=1500, seed=data_seed, muon_lr=0.006, adam_lr=2e-3, adam=VAE_ENDS)
    train(twins, loss, plan, work, report)
    write_back(twins, wan)
    torch.save(_half(vae.public_tensors(wan)), root / layout.VAE)


def train_light_decoder(root: Path, work: Path, seed: int, report: Report) -> None:
    """Trains a small decoder for the checkpoint's latents, and writes it beside the others."""
    torch.manual_seed(seed)
    network = taehv.build_taehv(LIGHT_SIZES)
    encoder = VaeEncoder(_trained_vae(root))
    recordings = _recordings(LIGHT_SEED + seed, LIGHT_RECORDINGS, VAE_RECORDING_S)
    motions = [motion(samples) for samples in recordings]
    random = np.random.default_rng([LIGHT_SEED, seed])
    films = []
    for number in range(LIGHT_FILMS):
        films.append(film(random, motions, encoder))
        report("light_films", number + 1, LIGHT_FILMS, {})
    plan = Plan("light_decoder", LIGHT_STEPS, LIGHT_SEED + seed, 0.012, 3e-3, adam=LIGHT_ENDS)
    train(network, LightDecoderLoss(TaehvDecoder(network), films), plan, work, report)
    save_file(_half(taehv.public_tensors(network)), root / LIGHT_DECODER)


def _trained_vae(root: Path) -> AutoencoderKLWan:
    weights = torch.load(root / layout.VAE, weights_only=True)
    wide = {key: tensor.float() for key, tensor in weights.items()}
    return vae.load_vae(wide, SIZES.others["vae_kwargs"])


def train_audio_encoder(root: Path, work: Path, seed: int, report: Report) -> None:
    """Trains Wav2Vec2 and writes it into the checkpoint."""
    wav2vec2 = new_wav2vec2(SIZES.audio_encoder, seed)
    student = AudioStudent(wav2vec2)
    data_seed = _data_seed(seed, AUDIO_STAGE)
    recordings = _recordings(data_seed, AUDIO_RECORDINGS, AUDIO_RECORDING_S)
    adam = ("heads", "conv")
    plan = Plan("audio", steps=1800, seed=data_seed, muon_lr=0.01, adam_lr=2e-3, adam=adam)
    train(student, AudioLoss(student, lessons(recordings)), plan, work, report)
    target = root / layout.AUDIO_ENCODERS[VARIANT] / layout.AUDIO_ENCODER_WEIGHTS
    torch.save(_half(audio_encoder.public_tensors(wav2vec2)), target)


def train_denoiser(root: Path, work: Path, seed: int, report: Report) -> None:
    """Cuts windows with the checkpoint's other networks, trains the denoiser on them, writes it."""
    checkpoint = Checkpoint(root)
    data_seed = _data_seed(seed, DENOISER_STAGE)
    windows = _windows(checkpoint, work / "windows", data_seed, report)
    denoiser = new_denoiser(SIZES.denoiser_config(VARIANT), seed)
    loss = FlowLoss(denoiser, windows, texts(checkpoint))
    adam = ("patch_embedding", "head.head", "time_", "modulation")
    plan = Plan("denoiser", steps=1800, seed=data_seed, muon_lr=0.01, adam_lr=2e-3, adam=adam)
    train(denoiser, loss, plan, work, report)
    save_file(_half(denoiser.state_dict()), root / layout.DENOISER)


def encoders(checkpoint: Checkpoint) -> Encoders:
    """Loads the networks around the denoiser as every checkpoint's are loaded."""
    builds = BUILDS[VARIANT]
    named: Mapping[str, Build] = {
        "audio": builds["audio_encoder"],
        "image": builds["image_encoder"],
        "vae_encoder": builds["vae_encoder"],
        "vae_decoder": builds["vae_decoder"],
    }
    modules: dict[str, Any] = {name: load(checkpoint).module for name, load in named.items()}
    return Encoders(**modules)


@torch.inference_mode()
def texts(checkpoint: Checkpoint) -> Tensor:
    """Returns the prompts as the denoiser gets them, [prompts, 512, C]."""
    tokenize = PromptTokenizer(checkpoint.existing(layout.TOKENIZER))
    encode = BUILDS[VARIANT]["text_encoder"](checkpoint).module
    tokens = [map(torch.from_numpy, tokenize(prompt)) for prompt in PROMPTS]
    return torch.cat([encode(token_ids, mask) for token_ids, mask in tokens]).clone()


def _windows(
    checkpoint: Checkpoint, folder: Path, seed: int, report: Report
) -> list[TrainingWindow]:
    windows: list[TrainingWindow] = []
    for some in training_windows(encoders(checkpoint), folder, seed=seed, count=WINDOWS):
        windows.extend(some)
        report("windows", len(windows), WINDOWS, {})
    return windows


def _data_seed(seed: int, stage: int) -> int:
    """Returns a seed that no other stage, of this run or of another, draws its data from."""
    return len(STAGES) * seed + stage


def _recordings(seed: int, count: int, seconds: float) -> list[Samples]:
    return [
        utterance(np.random.default_rng([seed, index]), TRAINING, seconds) for index in range(count)
    ]


def _half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: tensor.half().contiguous() for key, tensor in tensors.items()}
