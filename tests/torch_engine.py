"""An engine that runs the networks in torch, with the weights of the reference."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.denoiser import load_denoiser
from export.denoiser_config import DenoiserConfig, Riflex
from export.image_encoder import ImageEncoder, load_image_encoder
from export.text_encoder import TextEncoder, load_text_encoder
from export.vae import VaeDecoder, VaeEncoder, load_vae
from server.contract import Arrays, Network, check
from tests.reference import ReferenceFixture, reference_fixture


class TorchEngine:
    """Runs modules by the names of their networks."""

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        self._modules = modules

    async def run(
        self, network: Network, inputs: Arrays, outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        check(network.inputs, inputs, where=network.name)
        # Copied, since torch warns about arrays that cannot be written to.
        tensors = [torch.from_numpy(inputs[tensor.name].copy()) for tensor in network.inputs]
        with torch.inference_mode():
            results = self._modules[network.name](*tensors)
        named = dict(
            zip(
                (tensor.name for tensor in network.outputs),
                results if isinstance(results, tuple) else (results,),
                strict=True,
            )
        )
        return {name: named[name].numpy() for name in outputs or named}


def reference_engine(riflex: Riflex | None = None) -> TorchEngine:
    """The flash networks with the reference's weights, but for the audio encoder."""
    denoiser, vae = reference_fixture("denoiser_flash"), reference_fixture("vae")
    image, text = reference_fixture("image_encoder"), reference_fixture("text_encoder")
    weights = _weights(denoiser)
    config = DenoiserConfig.from_checkpoint(
        denoiser.config["transformer"],
        {key: tuple(tensor.shape) for key, tensor in weights.items()},
        riflex,
    )
    wan = load_vae(_weights(vae), vae.config["model"])
    return TorchEngine(
        {
            "denoiser": load_denoiser(config, weights),
            "vae_encoder": VaeEncoder(wan),
            "vae_decoder": VaeDecoder(wan),
            "image_encoder": ImageEncoder(
                load_image_encoder(_weights(image), image.config["model"])
            ),
            "text_encoder": TextEncoder(load_text_encoder(_weights(text), text.config["model"])),
        }
    )


def _weights(fixture: ReferenceFixture) -> dict[str, Tensor]:
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}
