"""Triton's `onnxruntime` backend in Python, for Tritons without NVIDIA's native one.

Placed at ``<backend directory>/onnxruntime/model.py`` it serves every model whose config.pbtxt says
``backend: "onnxruntime"``, on the CPU, one process per model instance. It reads the same
configuration as https://github.com/triton-inference-server/onnxruntime_backend and is as strict
about it, so a repository that loads here loads there.

It runs inside Triton's Python process and imports only what that environment has.
"""

import ctypes
import functools
import json
import os
import signal
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

PARAMETERS_VARIABLE = "ONNXRUNTIME_BACKEND_PARAMETERS"
"""JSON object of the parameters of models whose config.pbtxt does not set them."""

PR_SET_PDEATHSIG = 1

TRITON_TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}
OPTIMIZATION_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
BOOLEANS = {"0": False, "false": False, "1": True, "true": True}
EXECUTION_MODES = {
    "0": ort.ExecutionMode.ORT_SEQUENTIAL,
    "1": ort.ExecutionMode.ORT_PARALLEL,
}


class TritonPythonModel:
    """One instance of one model."""

    def initialize(self, args):
        """Opens the ONNX file and checks it against the configuration.

        Raises:
            pb_utils.TritonModelException: the file cannot be used as configured.
        """
        self._parent = os.getppid()
        config = json.loads(args["model_config"])
        warm_ups = config.get("model_warmup", [])
        self._warm_ups = sum(request.get("count") or 1 for request in warm_ups)
        filename = config.get("default_model_filename") or "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / filename
        options = session_options(config)
        try:
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise pb_utils.TritonModelException(one_line(error)) from None
        self._batches = config["max_batch_size"] > 0
        check(self._session, config)

    def execute(self, requests):
        """Answers every request: a response each, in order, errors included.

        ONNX Runtime computes every output of a graph, as it does in the native backend; only what
        a request asks for is copied and sent.
        """
        if self._warm_ups:
            self._warm_ups -= len(requests)
        else:
            end_with(self._parent)
        responses = [None] * len(requests)
        for indices in self._groups(requests):
            answers = self._answer([requests[index] for index in indices])
            for index, response in zip(indices, answers, strict=True):
                responses[index] = response
        return responses

    def finalize(self):
        """Lets go of the network's memory."""
        self._session = None

    def _groups(self, requests):
        """Indices of the requests that can be one batch: shapes agree but for the batch itself."""
        if not self._batches:
            return [[index] for index in range(len(requests))]
        groups = defaultdict(list)
        for index, request in enumerate(requests):
            tensors = sorted(request.inputs(), key=lambda tensor: tensor.name())
            groups[tuple((t.name(), tuple(t.shape()[1:])) for t in tensors)].append(index)
        return groups.values()

    def _answer(self, requests):
        """Runs requests as one batch. One that fails must not fail its neighbours."""
        try:
            return self._run(requests)
        except Exception as error:
            if len(requests) > 1:
                return [response for request in requests for response in self._answer([request])]
            code = (
                pb_utils.TritonError.INVALID_ARG
                if isinstance(error, InvalidArgument)
                else pb_utils.TritonError.INTERNAL
            )
            return [pb_utils.InferenceResponse(error=pb_utils.TritonError(one_line(error), code))]

    def _run(self, requests):
        names = sorted({name for request in requests for name in request.requested_output_names()})
        batch = concatenate([inputs_of(request) for request in requests])
        outputs = dict(zip(names, self._session.run(names, batch), strict=True))
        if len(requests) == 1:
            return [respond(requests[0], outputs)]
        ends = np.cumsum([batch_size(request) for request in requests])
        for name, output in outputs.items():
            if output.shape[:1] != (ends[-1],):
                raise ValueError(f"{name} has shape {list(output.shape)} for a batch of {ends[-1]}")
        split = {name: np.split(output, ends[:-1]) for name, output in outputs.items()}
        return [
            respond(request, {name: parts[i] for name, parts in split.items()})
            for i, request in enumerate(requests)
        ]


@functools.cache
def end_with(parent):
    """Has the kernel end this process when Triton ends.

    The stub means to do so itself, but sometimes hangs when Triton was killed in the midst of an
    execution, and then a Python thread that watches the parent does not run either. Not before the
    first execution after the warm-up: the signal comes when the thread that owns this process ends,
    and that of loading, which also warms up, ends when the model is ready.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def session_options(config):
    """Session options from the native backend's parameters, those at start, then its defaults."""
    parameters = json.loads(os.environ.get(PARAMETERS_VARIABLE, "{}"))
    for key, value in config.get("parameters", {}).items():
        parameters[key] = value["string_value"]
    level = config.get("optimization", {}).get("graph", {}).get("level", 0)

    options = ort.SessionOptions()
    try:
        options.intra_op_num_threads = int(parameters.get("intra_op_thread_count", 0))
        options.inter_op_num_threads = int(parameters.get("inter_op_thread_count", 0))
        options.execution_mode = EXECUTION_MODES[parameters.get("execution_mode", "0")]
        options.graph_optimization_level = OPTIMIZATION_LEVELS[int(level)]
        options.enable_cpu_mem_arena = BOOLEANS[parameters.get("enable_mem_arena", "1")]
        options.enable_mem_pattern = BOOLEANS[parameters.get("enable_mem_pattern", "1")]
    except (KeyError, ValueError) as error:
        raise pb_utils.TritonModelException(f"a parameter is not understood: {error}") from None
    # Every model has threads on the same cores: one that spins takes them from the one that works.
    entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    entries |= {key: value for key, value in parameters.items() if key.startswith("session.")}
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def check(session, config):
    """Checks inputs and outputs of the ONNX file against config.pbtxt, as the native backend does.

    A length that the file fixes stands in the configuration too. One that it leaves open may be
    fixed in the configuration of an input, but not of an output. The batch is always open.

    Raises:
        pb_utils.TritonModelException: they do not fit.
    """
    inputs = {value.name: value for value in session.get_inputs()}
    outputs = {value.name: value for value in session.get_outputs()}
    if missing := inputs.keys() - {tensor["name"] for tensor in config["input"]}:
        raise pb_utils.TritonModelException(f"config.pbtxt lacks the inputs {sorted(missing)}")
    batch = [-1] if config["max_batch_size"] > 0 else []
    for tensor in config["input"]:
        check_tensor(tensor, inputs, batch, open_fits_any=True)
    for tensor in config["output"]:
        check_tensor(tensor, outputs, batch, open_fits_any=False)


def check_tensor(tensor, provided, batch, *, open_fits_any):
    """Checks one entry of config.pbtxt against the ONNX file's tensor of that name."""
    name = tensor["name"]
    if name not in provided:
        raise pb_utils.TritonModelException(f"the ONNX file has no {name}, only {sorted(provided)}")
    dtype = TRITON_TYPES.get(provided[name].type, provided[name].type)
    shape = [dim if isinstance(dim, int) else -1 for dim in provided[name].shape]
    expected = batch + [int(dim) for dim in tensor["dims"]]
    fits = len(shape) == len(expected) and shape[: len(batch)] == batch
    for dim, wanted in zip(shape, expected, strict=False):
        fits = fits and (dim == wanted or (dim == -1 and open_fits_any))
    if not fits or dtype != tensor["data_type"]:
        raise pb_utils.TritonModelException(
            f"{name} is {dtype} {shape} in the ONNX file, "
            f"{tensor['data_type']} {expected} in config.pbtxt"
        )


def inputs_of(request):
    """The arrays of a request by name."""
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def batch_size(request):
    """Length of the batch dimension, which all inputs share."""
    return request.inputs()[0].shape()[0]


def concatenate(feeds):
    """Joins the arrays of several requests along the batch dimension."""
    if len(feeds) == 1:
        return feeds[0]
    return {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}


def respond(request, outputs):
    """A response with the outputs that the request asked for."""
    names = request.requested_output_names()
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, outputs[name]) for name in names])


def one_line(error):
    """An error's text without line breaks, as Triton's log and clients expect it."""
    return " ".join(str(error).split())
