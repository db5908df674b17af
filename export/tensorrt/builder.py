"""Builds one TensorRT engine, in a process of its own: a builder that gives up may end the process.

python -m export.tensorrt.builder < request.json > result.json

One builder serves both packages, whose Python APIs are the same: `tensorrt` builds on the GPU that
the engine is for, `tensorrt_rtx` ahead of time, on a CPU, for a compute capability.
"""

import importlib
import json
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

ACTIVATION = re.compile(r"Total Activation Memory: (\d+) bytes")
PACKAGES = ("tensorrt", "tensorrt_rtx")


def find_tensorrt() -> ModuleType | None:
    """Returns the TensorRT that is installed; the one for GPUs first."""
    for name in PACKAGES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def build(trt: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Builds an engine and writes it.

    Args:
        trt: either package.
        request: ``onnx`` and ``engine`` (paths), ``profiles`` (of each input three shapes),
            ``compute_capability`` (as "8.9", or null for the GPU at hand), ``timing_cache`` (a path
            or null) and ``weight_streaming``.

    Returns:
        ``layers`` of the network, the ``activation_bytes`` that the builder reports, how many
        ``profiles`` it has taken and the ``max_batch_size`` that all of them have, or an ``error``
        in one line.
    """
    logger, reported, complaints = _listener(trt)
    builder = trt.Builder(logger)
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(request["onnx"]):
        return {"error": str(parser.get_error(0).desc()).splitlines()[0]}
    config = builder.create_builder_config()
    _target(trt, config, request["compute_capability"])
    if request["weight_streaming"]:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    cache = _load_timing_cache(config, request["timing_cache"])
    taken = [_add_profile(builder, config, shapes) for shapes in request["profiles"]]
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        return {"error": complaints[-1] if complaints else "the builder gave up without a word"}
    Path(request["engine"]).write_bytes(engine)
    if cache is not None:
        Path(request["timing_cache"]).write_bytes(config.get_timing_cache().serialize())
    return {
        "layers": network.num_layers,
        "profiles": config.num_optimization_profiles,
        "max_batch_size": min(taken),
        **reported,
    }


def _add_profile(builder: Any, config: Any, shapes: dict[str, Any]) -> int:
    """Adds a profile; returns the largest batch that it takes, as TensorRT has noted it."""
    profile = builder.create_optimization_profile()
    for name, of_input in shapes.items():
        profile.set_shape(name, *of_input)
    config.add_optimization_profile(profile)
    return min(profile.get_shape(name)[2][0] for name in shapes)


def _listener(trt: Any) -> tuple[Any, dict[str, int], list[str]]:
    """Returns a logger, and where it notes the memory and the errors that the builder speaks of.

    An engine tells of its memory only to a GPU; the builder's messages tell ahead of time.
    """
    reported: dict[str, int] = {}
    complaints: list[str] = []

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if found := ACTIVATION.match(message):
                # Said of each profile.
                largest = max(int(found[1]), reported.get("activation_bytes", 0))
                reported["activation_bytes"] = largest
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                complaints.append(" ".join(message.split()))
                # For whoever started this process, should the builder end it.
                print(complaints[-1], file=sys.stderr)

    return Listener(), reported, complaints


def _target(trt: Any, config: Any, compute_capability: str | None) -> None:
    if compute_capability is not None:
        config.num_compute_capabilities = 1
        name = f"SM{compute_capability.replace('.', '')}"
        config.set_compute_capability(getattr(trt.ComputeCapability, name), 0)


def _load_timing_cache(config: Any, path: str | None) -> Any:
    """Kernels timed for one engine need not be timed again for the next; only a GPU times them."""
    if path is None:
        return None
    file = Path(path)
    cache = config.create_timing_cache(file.read_bytes() if file.is_file() else b"")
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def peak_bytes() -> int:
    """Returns the most memory that this process has taken.

    getrusage would count what the parent had taken when this one was started.
    """
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def main() -> None:
    """Builds what standard input asks for and reports on standard output."""
    trt = find_tensorrt()
    assert trt is not None
    begun = time.monotonic()
    result = build(trt, json.load(sys.stdin))
    result["seconds"] = round(time.monotonic() - begun, 1)
    result["peak_bytes"] = peak_bytes()
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
