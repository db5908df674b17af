"""Which Triton container carries what: facts with their sources, nothing guessed."""

from export.planning.containers import CONTAINERS, TENSORRT, TRTLLM, newest_opset
from tests.reports.markdown import table

FACTS = """A plan runs in the TensorRT that built it and in no other, and each container carries
one. The manifest of a repository of plans says which (`tool_versions`): `tensorrt`, and
`tritonserver`, the container, where they were built in one.

From `TRITON_VERSION` and `build.py` of the branches r25.01 to r26.08 of
`triton-inference-server/server`; TensorRT from the compatibility matrix in its documentation:"""
OPSETS = """The last column is the newest opset that the wheel of that ONNX Runtime from PyPI loads
([opsets.md](opsets.md)), of those that the export writes. `python -m export onnx --container 25.06`
uses nothing newer, and refuses what the container cannot serve.

The matrix names TensorRT for the images `...-trtllm-python-py3` alone, most of which have an older
CUDA than others of their release. The plain `...-py3` may carry another one, of which no source was
found; a container says itself which it has:

```sh
docker run --rm nvcr.io/nvidia/tritonserver:26.07-py3 printenv TRT_VERSION
```

TensorRT's parser takes the ONNX opsets 9 to 24 in 10.15 (operators.md of
`onnx/onnx-tensorrt`), and up to 25 in 11.x (NVIDIA's ONNX Opset Guide)."""
BUILD = """### Building in the container

Build in the very container that will serve. No container was at hand: these lines were not run.
What was tried is that the packages of the extra `export` resolve for the container's Python 3.12,
with which nothing of this project is tested otherwise.

```sh
docker run --rm --gpus all -v "$PWD":/work -w /work nvcr.io/nvidia/tritonserver:26.07-py3 sh -c '
    python3 -m venv /tmp/export && . /tmp/export/bin/activate &&
    pip install --ignore-requires-python ".[export]" "tensorrt==${TRT_VERSION%%+*}.*" &&
    python -m export tensorrt model_repository --engines engines &&
    python -m export inspect engines'
```

`inspect` lists what is in a repository. Where a TensorRT is, as in NVIDIA's containers, it refuses
plans of another one in a line, before a `tritonserver` tries to load them. A gateway that would
start a Triton of its own, which has no TensorRT, refuses them in a line, too: it names the
container to serve them in, and `--triton-url`."""


def containers() -> list[str]:
    """Returns the parts of the page."""
    return [
        "## Triton's containers",
        FACTS,
        table(
            ("container", "Triton", f"TensorRT of {TRTLLM}", "ONNX Runtime", "opset"),
            [
                (name, triton, TENSORRT.get(name, "not said"), runtime, newest_opset(None, name))
                for name, (triton, runtime) in CONTAINERS.items()
            ],
        ),
        OPSETS,
        BUILD,
    ]
