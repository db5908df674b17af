"""Networks that compute nothing answer as the contract says."""

import numpy as np
import onnxruntime
import pytest

from export.onnx.hollow import hollow_graph
from export.onnx.widths import PUBLIC_WIDTHS as WIDTHS
from export.tensorrt.profiles import Workload, profile
from server.triton.contract import NETWORKS, NUMPY_DTYPES, Arrays, Network, check
from server.triton.lengths import lengths

FLASH = NETWORKS["flash"]


def inputs(network: Network, width: int, height: int, frames: int) -> Arrays:
    """What a window asks of a network."""
    usual = profile(FLASH[network.name], Workload("flash", [(width, height)], [frames]), WIDTHS)
    return {t.name: np.ones(usual[t.name][1], NUMPY_DTYPES[t.dtype]) for t in network.inputs}


def outputs(network: Network, given: Arrays) -> Arrays:
    graph = hollow_graph(network, WIDTHS).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in network.outputs]
    results = session.run(names, dict(given))
    return {name: np.asarray(result) for name, result in zip(names, results, strict=True)}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("name", FLASH)
@pytest.mark.parametrize(("width", "height", "frames"), [(64, 32, 9), (32, 96, 17)])
def test_every_output_has_its_type_and_the_lengths_that_follow_from_the_inputs(
    name: str, precision: str, width: int, height: int, frames: int
) -> None:
    network = FLASH[name].on_the_wire(precision)
    given = inputs(network, width, height, frames)
    made = outputs(network, given)
    check((*network.inputs, *network.outputs), {**given, **made}, where=name)
    known = lengths(network, given)
    for tensor in network.outputs:
        for dim, length in zip(tensor.dims, made[tensor.name].shape[1:], strict=True):
            assert known.get(str(dim), length) == length
        assert not made[tensor.name].any()


def test_lengths_that_no_input_has_are_those_of_the_real_networks() -> None:
    encoder, denoiser = FLASH["vae_encoder"], FLASH["denoiser"]
    latents = outputs(encoder, inputs(encoder, 64, 32, 33))["latents"]
    residual = outputs(denoiser, inputs(denoiser, 64, 32, 33))["residual"]
    assert latents.shape == (1, 16, 9, 4, 8)
    assert residual.shape == (1, 2, 9 * 2 * 4, 1536)
