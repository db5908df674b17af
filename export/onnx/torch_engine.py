"""An engine for the gateway's own code that runs the networks in torch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from server.triton.contract import Arrays, Network, check
from server.triton.engine import Engine, Priority


class TorchEngine(Engine):
    """Runs modules by the names of their networks; see `server.triton.engine.Engine`."""

    def __init__(self, module: Callable[[str], nn.Module]) -> None:
        self._module = module

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Runs a network once and returns the outputs asked for, or all."""
        check(network.inputs, inputs, where=network.name)
        # Copied, since torch warns about arrays that cannot be written to.
        tensors = [torch.from_numpy(inputs[tensor.name].copy()) for tensor in network.inputs]
        with torch.inference_mode():
            results = self._module(network.name)(*tensors)
        named = dict(
            zip(
                (tensor.name for tensor in network.outputs),
                results if isinstance(results, tuple) else (results,),
                strict=True,
            )
        )
        return {name: named[name].numpy() for name in outputs or named}
