"""Whether Triton serves the checkpoint of the manifest: by their tensors two may look the same."""

from dataclasses import dataclass

from server.manifest import CHECKPOINT_PARAMETER, Manifest
from server.triton.client import TritonEngine
from server.triton.contract import OF_NO_CHECKPOINT


@dataclass(eq=False)
class OtherCheckpointError(Exception):
    """A network that Triton serves is of another checkpoint; the text is for the operator.

    Attributes:
        network: which.
        served: the digest that its configuration in Triton names; None if it names none.
        expected: the digest that the manifest names.
    """

    network: str
    served: str | None
    expected: str

    def __str__(self) -> str:
        if self.served is None:
            return (
                f"its {self.network} names no checkpoint, the manifest names {self.expected}; "
                "an older version exported it: export again, then restart Triton and this server"
            )
        return (
            f"its {self.network} is of checkpoint {self.served}, the manifest of {self.expected}; "
            "point --repository at the repository that Triton serves, and if it was exported again "
            "restart Triton and this server"
        )


async def check_checkpoint(triton: TritonEngine, manifest: Manifest, timeout_s: float) -> None:
    """Compares the digest of every network of a checkpoint; that costs Triton next to nothing.

    Args:
        triton: asked what it serves.
        manifest: of the repository that it should serve.
        timeout_s: how long each answer may take.

    Raises:
        EngineUnavailableError, ExecutionError: Triton does not tell.
        OtherCheckpointError: a network is of another checkpoint, or does not say of which.
    """
    for network in manifest.networks:
        if network in OF_NO_CHECKPOINT:
            continue
        parameters = await triton.parameters(network, timeout_s)
        served = parameters.get(CHECKPOINT_PARAMETER)
        if served != manifest.checkpoint_digest:
            raise OtherCheckpointError(network, served, manifest.checkpoint_digest)
