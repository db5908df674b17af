"""The demo's training: weights come back where they belong, and a stopped run goes on."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from export.demo.muon import orthogonal
from export.demo.training import Plan, train
from export.demo.vae_training import VaeTwins, new_vae, standardise, write_back
from export.models.vae.coder import VaeDecoder, VaeEncoder
from export.precision.half_storage import store_halves

SIZES = {"dim": 8, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1}


def video() -> Tensor:
    return torch.rand(1, 3, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@torch.inference_mode()
def test_trained_weights_are_written_back_into_the_librarys_layers() -> None:
    vae = new_vae(SIZES, seed=0)
    twins = VaeTwins(vae)
    for weight in twins.parameters():
        weight.add_(0.02 * torch.randn_like(weight))
    write_back(twins, vae)
    latents = twins.posterior(video())[0]
    torch.testing.assert_close(VaeEncoder(vae).encode(video()), latents, atol=1e-4, rtol=1e-4)
    seen = VaeDecoder(vae)(latents)[1]
    torch.testing.assert_close(seen, twins.decode(latents).clamp(-1, 1), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_standardising_changes_the_latents_and_not_the_pictures() -> None:
    vae = new_vae(SIZES, seed=0)
    latents = VaeEncoder(vae).encode(video())
    seen = VaeDecoder(vae)(latents)[1]
    mean, std = torch.randn(16), torch.rand(16) + 0.5
    standardise(vae, mean, std)
    column = (-1, 1, 1, 1)
    wanted = (latents - mean.view(column)) / std.view(column)
    torch.testing.assert_close(VaeEncoder(vae).encode(video()), wanted, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(VaeDecoder(vae)(wanted)[1], seen, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("shape", [(4, 12), (12, 4)])
def test_muons_steps_are_nearly_orthogonal(shape: tuple[int, int]) -> None:
    matrix = orthogonal(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    values = torch.linalg.svdvals(matrix)
    assert 0.6 < values.min() < values.max() < 1.3


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, stopped = (tmp_path / name for name in ("whole", "stopped"))
    weights: list[Tensor] = []
    for folder, ends in ((whole, (200,)), (stopped, (100, 200))):
        folder.mkdir()
        for end in ends:
            model = linear()
            run(model, folder, stop_at=end)
        weights.append(model.weight)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 4)


def quiet(stage: str, step: int, steps: int, facts: dict[str, float]) -> None:
    pass


class StoppedError(Exception):
    pass


def run(model: nn.Linear, folder: Path, *, stop_at: int) -> None:
    def loss(random: np.random.Generator, step: int) -> tuple[Tensor, dict[str, float]]:
        if step == stop_at:
            raise StoppedError
        batch = torch.from_numpy(random.standard_normal((8, 6))).float()
        value = (model(batch) - batch[:, :4]).square().mean()
        return value, {"loss": value.item()}

    plan = Plan("linear", steps=200, seed=0, muon_lr=0.02, adam_lr=0.01)
    try:
        train(model, loss, plan, folder, quiet)
    except StoppedError:
        return


def test_only_weights_that_lose_nothing_are_stored_in_halves() -> None:
    exact = np.arange(512, dtype=np.float32).reshape(2, 256)
    inexact = np.full((2, 256), 0.1, np.float32)
    weights = [numpy_helper.from_array(exact, "exact"), numpy_helper.from_array(inexact, "inexact")]
    nodes = [
        helper.make_node("Add", ["x", "exact"], ["sum"]),
        helper.make_node("Mul", ["sum", "inexact"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 256]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    store_halves(model)
    onnx.checker.check_model(model)
    types = {weight.name: weight.data_type for weight in model.graph.initializer}
    assert types == {"exact.half": TensorProto.FLOAT16, "inexact": TensorProto.FLOAT}
    assert [node.op_type for node in model.graph.node] == ["Cast", "Add", "Mul"]
