"""Networks as the authors call them, where the server's own are given less: the reference's cases.

The server's denoiser takes each frame's audio once and its VAE encoder takes pictures; the
reference's inputs are random windows and a random video, which neither can be given. So the same
modules are exported a second time, at the authors' seam; what lies between is tested in torch.
"""

from functools import partial

import torch
from torch import Tensor, nn

from export.checkpoint.layout import Checkpoint
from export.models.denoiser.config import Riflex
from export.models.denoiser.model import Denoiser
from export.models.vae.chunks import in_chunks
from export.models.vae.coder import VaeEncoder
from export.networks.denoiser import denoiser
from export.networks.exportable import Build, Exportable, Inputs, Shape
from export.networks.vae import wan_vae
from server.triton import contract
from server.triton.contract import Network

DENOISER_OF_WINDOWS = Network(
    name="denoiser_of_windows",
    inputs=(
        *contract.DENOISER.inputs[:5],
        contract.Tensor(
            "audio",
            "FP32",
            ("frames", contract.AUDIO_WINDOW, contract.AUDIO_LAYERS, "audio_width"),
        ),
    ),
    outputs=(
        contract.Tensor("velocity", "FP32", contract.LATENTS),
        contract.Tensor("residual", "FP32", ("tokens", "denoiser_width")),
    ),
    max_batch_size=4,
)
VAE_ENCODER_OF_VIDEO = Network(
    name="vae_encoder_of_video",
    inputs=(contract.Tensor("video", "FP32", contract.VIDEO),),
    outputs=contract.VAE_ENCODER.outputs,
    max_batch_size=4,
)


class Evaluation(nn.Module):
    """A denoiser whose rows share nothing."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(
        self,
        latents: Tensor,
        condition: Tensor,
        timestep: Tensor,
        text: Tensor,
        image_tokens: Tensor,
        audio: Tensor,
    ) -> tuple[Tensor, Tensor]:
        return self.denoiser.evaluate(latents, condition, timestep, text, image_tokens, audio)


class VideoEncoder(VaeEncoder):
    """The VAE encoder of any video."""

    def enter(self, *inputs: Tensor) -> Tensor:
        (video,) = inputs
        return self.frames(video)

    def forward(self, *inputs: Tensor) -> Tensor:
        (video,) = inputs
        return self.encode(video)


def denoiser_of_windows(checkpoint: Checkpoint, riflex: Riflex | None = None) -> Exportable:
    exported = denoiser(checkpoint, riflex=riflex)
    assert isinstance(exported.module, Denoiser)

    def inputs(shape: Shape) -> Inputs:
        given = exported.inputs(shape)
        names = (tensor.name for tensor in DENOISER_OF_WINDOWS.inputs[:5])
        audio = torch.randn(shape.batch, shape.video_frames, 5, *given["audio"].shape[2:])
        return {**{name: given[name] for name in names}, "audio": audio}

    return Exportable(DENOISER_OF_WINDOWS, Evaluation(exported.module), inputs)


def vae_encoder_of_video(checkpoint: Checkpoint) -> Exportable:
    def inputs(shape: Shape) -> Inputs:
        return {"video": torch.rand(shape.batch, 3, shape.video_frames, *shape.picture) * 2 - 1}

    module = VideoEncoder(wan_vae(checkpoint))
    return Exportable(VAE_ENCODER_OF_VIDEO, module, inputs, in_chunks(module))


def authors_networks(riflex: Riflex | None = None) -> dict[str, tuple[Network, Build]]:
    """Returns them, and what builds them, by name."""
    return {
        DENOISER_OF_WINDOWS.name: (
            DENOISER_OF_WINDOWS,
            partial(denoiser_of_windows, riflex=riflex),
        ),
        VAE_ENCODER_OF_VIDEO.name: (VAE_ENCODER_OF_VIDEO, vae_encoder_of_video),
    }
