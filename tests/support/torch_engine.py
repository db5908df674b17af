"""The reference's networks in torch."""

import torch
from torch import Tensor, nn

from export.models.audio_encoder import AudioEncoder, PreviewAudioEncoder, load_audio_encoder
from export.models.denoiser.config import DenoiserConfig, Riflex
from export.models.denoiser.model import Denoiser, load_denoiser
from export.models.denoiser.teacache import CachedDenoiser, TimeModulation
from export.models.image_encoder import ImageEncoder, load_image_encoder
from export.models.text_encoder import TextEncoder, load_text_encoder
from export.models.vae.coder import VaeDecoder, VaeEncoder, load_vae
from export.onnx.torch_engine import TorchEngine
from server.triton.contract import Variant
from tests.support.authors_networks import Evaluation, VideoEncoder
from tests.support.reference import ReferenceFixture, reference_fixture


def reference_engine(variant: Variant, riflex: Riflex | None = None) -> TorchEngine:
    """The networks of a variant with the reference's weights."""
    vae = reference_fixture("vae")
    image, text = reference_fixture("image_encoder"), reference_fixture("text_encoder")
    wan = load_vae(_weights(vae), vae.config["model"])
    denoiser = _denoiser(variant, riflex)
    modules: dict[str, nn.Module] = {
        "audio_encoder": _audio_encoder(variant),
        "time_modulation": TimeModulation(_denoiser(variant)),
        "denoiser": denoiser,
        "denoiser_of_windows": Evaluation(denoiser),
        "denoiser_cached": CachedDenoiser(_denoiser(variant)),
        "vae_encoder": VaeEncoder(wan),
        "vae_decoder": VaeDecoder(wan),
        "image_encoder": ImageEncoder(load_image_encoder(_weights(image), image.config["model"])),
        "vae_encoder_of_video": VideoEncoder(wan),
        "text_encoder": TextEncoder(load_text_encoder(_weights(text), text.config["model"])),
    }
    return TorchEngine(modules.__getitem__)


def _audio_encoder(variant: Variant) -> nn.Module:
    fixture = reference_fixture(f"audio_{variant}")
    if variant == "preview":
        config = fixture.config["wav2vec2_config"]
        return PreviewAudioEncoder(load_audio_encoder(_weights(fixture), config))
    config = fixture.config["variants"]["group"]["wav2vec2_config"]
    return AudioEncoder(load_audio_encoder(_weights(fixture), config))


def _denoiser(variant: Variant, riflex: Riflex | None = None) -> Denoiser:
    fixture = reference_fixture(f"denoiser_{variant}")
    weights = _weights(fixture)
    shapes = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    config = DenoiserConfig.from_checkpoint(fixture.config["transformer"], shapes, riflex)
    return load_denoiser(config, weights)


def _weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}
