"""The named dimensions of a call of a network, as far as its inputs tell."""

from server.triton.contract import FRAMES_PER_LATENT, PIXELS_PER_LATENT, Arrays, Network


def lengths(network: Network, inputs: Arrays) -> dict[str, int]:
    """Returns the lengths that inputs have, and those of video and latents that follow.

    What depends on the checkpoint, as widths that no input has, is not among them.
    """
    named: dict[str, int] = {}
    for tensor in network.inputs:
        shape = inputs[tensor.name].shape[1:]
        named |= {dim: n for dim, n in zip(tensor.dims, shape, strict=True) if isinstance(dim, str)}
    if "latent_frames" in named:
        named.setdefault("frames", FRAMES_PER_LATENT * (named["latent_frames"] - 1) + 1)
    for side in ("height", "width"):
        if f"latent_{side}" in named:
            named.setdefault(side, named[f"latent_{side}"] * PIXELS_PER_LATENT)
        elif side in named:
            named[f"latent_{side}"] = named[side] // PIXELS_PER_LATENT
    return named
