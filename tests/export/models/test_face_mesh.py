"""The networks that portraits are looked at with compute what their packages' own files do."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import tflite

from export.models import tflite_graph
from export.models.face_mesh import SOURCES, portrait_network
from export.models.packages import PackageMissingError
from server.triton.contract import PORTRAIT_NETWORKS
from tests.support.record_face_mesh import FILE

DEMO = Path(__file__).parents[3] / "export" / "demo" / "model_repository"
TOLERANCE = {
    "face_finder.boxes": 1e-3,
    "face_finder.logits": 1e-3,
    # In pixels of what is seen, of which there are 192 and 64 a side: weights are halves.
    "face_mesh.points": 0.1,
    "face_mesh.logit": 0.05,
    "eye_mesh.contour": 0.03,
    "eye_mesh.iris": 0.03,
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_network_computes_what_litert_does(name: str) -> None:
    network = PORTRAIT_NETWORKS[name]
    session = ort.InferenceSession(portrait_network(name).SerializeToString())
    with np.load(FILE) as recorded:
        image = recorded[f"{name}.image"]
        for batch in (1, 3):
            results = session.run(
                [tensor.name for tensor in network.outputs], {"image": image.repeat(batch, 0)}
            )
            for tensor, result in zip(network.outputs, results, strict=True):
                key = f"{name}.{tensor.name}"
                expected = recorded[key].repeat(batch, 0)
                np.testing.assert_allclose(np.asarray(result), expected, atol=TOLERANCE[key])


@pytest.mark.parametrize("name", SOURCES)
def test_the_demos_are_what_the_package_ships(name: str) -> None:
    shipped = (DEMO / name / "1" / "model.onnx").read_bytes()
    assert shipped == portrait_network(name).SerializeToString()


def test_an_unknown_operator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_graph, "CONVERSIONS", {})
    with pytest.raises(ValueError, match="is not an operator"):
        portrait_network("face_finder")


def test_a_fused_activation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite.AddOptions, "FusedActivationFunction", lambda _: 1)
    with pytest.raises(ValueError, match="activation"):
        portrait_network("face_mesh")


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.models.face_mesh.PACKAGE", "no-such-package")
    with pytest.raises(PackageMissingError, match=r"no-such-package.*pip install"):
        portrait_network("face_mesh")
