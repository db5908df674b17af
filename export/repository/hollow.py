"""A repository of networks that compute nothing, at the widths of the public checkpoints.

What is left when a gateway and a Triton run it is what they take themselves: carrying tensors,
guidance, samplers, pictures.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx

from export.checkpoint.tiny import tokenizer
from export.onnx.hollow import hollow_graph
from export.onnx.widths import PUBLIC_WIDTHS
from export.precision.policy import Precision, precision_of
from export.repository.exporter import VERSION, write_config
from export.repository.model_config import BACKEND, MODEL_FILE
from export.repository.origin import tool_versions
from export.tensorrt.profiles import WINDOWS, Workload
from server import manifest
from server.manifest import Manifest, NetworkEntry
from server.triton.contract import NETWORKS, fingerprint

VARIANT = "flash"
CHECKPOINT = "hollow"
"""What stands for the digest of a checkpoint."""
VOCABULARY = 512


def make_hollow(
    repository: Path, *, sizes: Sequence[tuple[int, int]], precision: Precision
) -> None:
    """Writes a repository of the flash variant that the gateway and Triton can serve.

    Args:
        repository: the folder; files in it are replaced.
        sizes: (width, height) to offer; the first is the default.
        precision: that an export of real ones would have, which decides the types on the wire.
    """
    workload = Workload(VARIANT, sizes, WINDOWS)
    precisions: dict[str, Precision] = {
        name: precision_of(name, precision) for name in NETWORKS[VARIANT]
    }
    for name, network in NETWORKS[VARIANT].items():
        folder = repository / name
        (folder / VERSION).mkdir(parents=True, exist_ok=True)
        graph = hollow_graph(network.on_the_wire(precisions[name]), PUBLIC_WIDTHS)
        onnx.save(graph, folder / VERSION / MODEL_FILE)
        write_config(network, folder, workload, precisions[name], CHECKPOINT)
    tokenizer(VOCABULARY).save(str(repository / manifest.TOKENIZER))
    description = Manifest(
        variant=VARIANT,
        contract=fingerprint(VARIANT),
        checkpoint_digest=CHECKPOINT,
        networks={
            name: NetworkEntry(backend=BACKEND, precision=of_network)
            for name, of_network in precisions.items()
        },
        sizes=tuple(sizes),
        tool_versions=dict(tool_versions()),
    )
    (repository / manifest.FILE).write_text(description.model_dump_json(indent=2) + "\n")
