"""Runs a denoiser on the cases of the reference and returns every tensor that it stores."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from export.checkpoint.variant import AUDIO_PROJECTIONS
from export.models.denoiser.config import DenoiserConfig, Riflex
from export.models.denoiser.model import VARIANTS, Denoiser, load_denoiser
from export.precision.policy import Precision
from tests.support.reference import ReferenceFixture

Arrays = dict[str, NDArray[Any]]

TOLERANCE = 1e-4
FREQUENCIES = {"freqs_temporal_real": "rotary_cos", "freqs_temporal_imag": "rotary_sin"}
"""The buffers behind two names of the `riflex` case, which are no module's output."""


@dataclass(frozen=True)
class Case:
    """One case of the reference; `settings` is its entry in config.json."""

    settings: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: Arrays

    @property
    def riflex(self) -> Riflex | None:
        options = self.settings.get("riflex")
        return Riflex(options["k"], options["L_test"]) if options else None

    @property
    def text(self) -> Tensor:
        """The texts of the batch, [batch, longest, text_dim], zero behind the shorter ones."""
        texts = [self.inputs[f"text{row}"] for row in range(self.settings["B"])]
        return torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)


def cases(fixture: ReferenceFixture) -> Iterator[Case]:
    """Yields every case but `teacache`."""
    for settings in fixture.config["cases"]:
        if not settings.get("teacache"):
            yield _case(fixture, settings)


def teacache_case(fixture: ReferenceFixture) -> Case:
    """Returns the case that runs over many timesteps and skips the blocks at some."""
    (settings,) = (case for case in fixture.config["cases"] if case.get("teacache"))
    return _case(fixture, settings)


def stored_steps(fixture: ReferenceFixture) -> list[int]:
    """Returns the steps whose outputs the `teacache` case stores where each step is one call.

    config.json tells them in words: `single: steps 0..11, 18, 24 in that order; double: ...`.
    """
    stated = re.search(r"single: steps ([\d., ]+\d)", fixture.config["teacache"]["outputs_stored"])
    assert stated is not None
    steps: list[int] = []
    for part in stated[1].split(", "):
        first, _, last = part.partition("..")
        steps += range(int(first), int(last or first) + 1)
    return steps


def public_config(audio_shapes: dict[str, tuple[int, ...]]) -> DenoiserConfig:
    """Returns the public sizes; `audio_shapes` are those of the weights that project audio."""
    transformer = {"dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30, "in_dim": 36}
    image_shape = {"img_emb.proj.1.weight": (1280, 1280)}
    return DenoiserConfig.from_checkpoint(transformer, image_shape | audio_shapes)


def count_parameters(config: DenoiserConfig) -> tuple[int, int]:
    """Returns how many parameters and tensors a denoiser has, without making any."""
    with torch.device("meta"):
        parameters = list(VARIANTS[config.variant](config).parameters())
    return sum(parameter.numel() for parameter in parameters), len(parameters)


def checkpoint(fixture: ReferenceFixture) -> dict[str, Tensor]:
    """Returns the weights of a fixture."""
    return {key: torch.from_numpy(array) for key, array in fixture.weights().items()}


def shapes(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Returns what a safetensors file tells without being read."""
    return {key: tuple(tensor.shape) for key, tensor in weights.items()}


def load(
    fixture: ReferenceFixture,
    weights: dict[str, Tensor],
    riflex: Riflex | None = None,
    precision: Precision = "fp32",
) -> Denoiser:
    """Builds a denoiser as the export does: from a transformer's config and its weights."""
    transformer = fixture.config["transformer"]
    config = DenoiserConfig.from_checkpoint(transformer, shapes(weights), riflex)
    return load_denoiser(config, weights, precision)


def record(denoiser: Denoiser, names: set[str], inputs: tuple[Tensor, ...]) -> Arrays:
    """Returns what a denoiser makes of its inputs, `out`, and what modules on the way there gave.

    Modules go by the reference's names; a name that belongs to none is left out.
    """
    recorded: Arrays = {}

    def keep(name: str, _module: object, _inputs: object, output: Tensor) -> None:
        recorded[name] = output.numpy()

    modules = dict(denoiser.named_modules())
    with ExitStack() as hooks:
        for name in names:
            if module := modules.get(_module_path(name, denoiser.config)):
                hooks.enter_context(module.register_forward_hook(partial(keep, name)))
        velocity, _ = denoiser.evaluate(*inputs)
        recorded["out"] = velocity.numpy()
    if "e0" in recorded:
        recorded["e0"] = recorded["e0"].reshape(len(recorded["e0"]), 6, -1)
    return recorded


def teacache_outputs(
    denoiser: Denoiser,
    case: Case,
    computed: list[bool],
    calls_per_step: int,
    inputs: Callable[[int], tuple[Tensor, ...]],
) -> list[NDArray[Any]]:
    """Makes the calls of the `teacache` case by a given plan and returns every velocity.

    Args:
        denoiser: the network.
        case: its latents fade from step to step, by the rule in config.json.
        computed: for each call whether the blocks run.
        calls_per_step: how many calls have the same timestep.
        inputs: from the number of a call to what the network takes besides latents, condition and
            timestep.
    """
    velocities = []
    residual = torch.empty(0)
    for call, runs_blocks in enumerate(computed):
        step = call // calls_per_step
        latents = case.inputs["x"] * (1 - 0.02 * step)
        timestep = case.inputs["t"][step].expand(len(latents), 1)
        noisy = (latents, case.inputs["y"], timestep)
        if runs_blocks:
            velocity, residual = denoiser.evaluate(*noisy, *inputs(call))
        else:
            velocity = denoiser.forward_cached(*noisy, residual[:, None])[:, 0]
        velocities.append(velocity.numpy())
    return velocities


def _case(fixture: ReferenceFixture, settings: dict[str, Any]) -> Case:
    prefix = f"{settings['name']}."

    def of_case(arrays: Arrays) -> Arrays:
        return {
            key.removeprefix(prefix): array
            for key, array in arrays.items()
            if key.startswith(prefix)
        }

    inputs = of_case(fixture.inputs)
    return Case(
        settings=settings,
        inputs={name: torch.from_numpy(array) for name, array in inputs.items()},
        outputs=of_case(fixture.outputs),
    )


def _module_path(name: str, config: DenoiserConfig) -> str:
    paths = {
        "e": "time_embedding",
        "e0": "time_projection",
        "audio_tokens": AUDIO_PROJECTIONS[config.variant],
    }
    return paths.get(name, re.sub(r"^block(\d+)", r"blocks.\1", name))
