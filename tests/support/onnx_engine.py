"""An engine that runs a repository's ONNX files in this process, with ONNX Runtime alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.repository.model_config import MODEL_FILE
from server.triton.contract import Arrays, Network, check
from server.triton.engine import Engine, Priority


class OnnxEngine(Engine):
    """Loads a network when it is first run."""

    def __init__(self, repository: Path) -> None:
        self._repository = repository
        self._sessions: dict[str, ort.InferenceSession] = {}

    async def run(
        self,
        network: Network,
        inputs: Arrays,
        outputs: Sequence[str] | None = None,
        *,
        priority: Priority = Priority.NORMAL,
        timeout_s: float | None = None,
    ) -> dict[str, NDArray[Any]]:
        check(network.inputs, inputs, where=network.name)
        names = list(outputs or (tensor.name for tensor in network.outputs))
        results = self._session(network.name).run(names, dict(inputs))
        arrays = {name: np.asarray(array) for name, array in zip(names, results, strict=True)}
        check([t for t in network.outputs if t.name in names], arrays, where=network.name)
        return arrays

    def _session(self, name: str) -> ort.InferenceSession:
        if name not in self._sessions:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            path = self._repository / name / "1" / MODEL_FILE
            self._sessions[name] = ort.InferenceSession(path, options)
        return self._sessions[name]
