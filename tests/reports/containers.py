"""Which Triton container carries what: facts with their sources, nothing guessed."""

from tests.reports.markdown import table

RELEASES = (
    ("26.08", "2.72.0", "1.28.0"),
    ("26.07", "2.71.0", "1.27.0"),
    ("26.06", "2.70.0", "1.24.4"),
    ("26.05", "2.69.0", "1.24.4"),
    ("26.04", "2.68.0", "1.24.4"),
    ("26.03", "2.67.0", "1.24.2"),
    ("26.02", "2.66.0", "1.24.1"),
    ("26.01", "2.65.0", "1.23.2"),
    ("25.12", "2.64.0", "1.23.2"),
    ("25.10", "2.62.0", "1.23.1"),
    ("25.06", "2.59.0", "1.22.0"),
    ("25.01", "2.54.0", "1.20.1"),
)
"""Container, Triton, ONNX Runtime: `TRITON_VERSION` and `build.py` of each release's branch."""
FACTS = """A plan runs in the TensorRT that built it and in no other, and each container carries
one. The manifest of a repository of plans says which (`tool_versions`): `tensorrt`, and
`tritonserver`, the container, where they were built in one.

From `TRITON_VERSION` and `build.py` of the branches r25.01 to r26.08 of
`triton-inference-server/server`:"""
OPSETS = """TensorRT's version in these images stands in no file of that repository, and ONNX
Runtime's table of opsets was not at hand for these versions: both are left out rather than guessed.
A container says itself which TensorRT it has:

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
        table(("container", "Triton", "ONNX Runtime"), RELEASES),
        OPSETS,
        BUILD,
    ]
