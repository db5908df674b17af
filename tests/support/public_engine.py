"""An engine that computes nothing, at the sizes of the public models: what is left is carrying."""

from collections.abc import Sequence

import numpy as np

from server.triton.contract import (
    NUMPY_DTYPES,
    PATCH,
    Arrays,
    Network,
    check,
    latent_frames,
)
from server.triton.engine import Engine, Priority, Results
from server.triton.lengths import lengths

WIDTHS = {"audio_width": 768, "image_width": 1280, "text_width": 4096, "denoiser_width": 1536}


class PublicEngine(Engine):
    """Answers the networks of flash with zeros."""

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> Results:
        check(network.inputs, inputs, where=network.name)
        lengths = _lengths(network, inputs)
        batch = len(next(iter(inputs.values())))
        return {
            tensor.name: np.zeros(
                (batch, *(dim if isinstance(dim, int) else lengths[dim] for dim in tensor.dims)),
                NUMPY_DTYPES[tensor.dtype],
            )
            for tensor in network.outputs
            if outputs is None or tensor.name in outputs
        }


def _lengths(network: Network, inputs: Arrays) -> dict[str, int]:
    """Returns the lengths of a call's named dimensions."""
    named = WIDTHS | lengths(network, inputs)
    if network.name == "vae_encoder":
        named["latent_frames"] = latent_frames(named["known_frames"] + named["grey_frames"])
    if network.name == "denoiser":
        area = named["latent_height"] * named["latent_width"]
        named["tokens"] = named["latent_frames"] * area // PATCH**2
    return named
