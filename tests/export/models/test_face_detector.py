"""The face detector's graph is the package's own, and it finds the faces of the reference."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from export.models.face_detector import FILE, PACKAGE, face_detector
from export.models.packages import PackageMissingError, packaged
from export.repository.exporter import copy_network
from export.tensorrt.profiles import SIZES, WINDOWS, Workload
from server.pictures.face import find_face
from server.triton.client import TritonEngine
from server.triton.contract import FACE_DETECTOR
from server.triton.process import Threads
from tests.support.fake_engine import FakeEngine
from tests.support.onnx_engine import OnnxEngine
from tests.support.reference import reference_folder
from tests.support.toy_triton import Scene, find_installation


def write_detector(repository: Path, workload: Workload) -> None:
    folder = repository / FACE_DETECTOR.name
    copy_network(FACE_DETECTOR, face_detector(), folder, workload, lambda *_, **__: None)


@pytest.fixture
def detector(tmp_path: Path) -> OnnxEngine:
    workload = Workload("preview", SIZES, WINDOWS)
    write_detector(tmp_path, workload)
    return OnnxEngine(tmp_path)


def test_the_graph_computes_what_the_packages_own_file_does() -> None:
    images = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    theirs = ort.InferenceSession(packaged(PACKAGE, FILE)).run(
        ["537", "538", "539"], {"input.1": images}
    )
    ours = ort.InferenceSession(face_detector().SerializeToString())
    results = ours.run([tensor.name for tensor in FACE_DETECTOR.outputs], {"image": images})
    for our, their in zip(results, theirs, strict=True):
        np.testing.assert_allclose(np.asarray(our), np.asarray(their), rtol=1e-3, atol=1e-5)
    onnx.checker.check_model(face_detector())
    assert [value.name for value in face_detector().graph.input] == ["image"]


async def test_a_face_that_is_found_is_the_one_that_the_authors_marked(
    detector: OnnxEngine,
) -> None:
    media = reference_folder() / "media"
    found = 0
    for path in sorted(media.glob("*.npy")):
        (picture,) = (file for file in media.glob(f"{path.stem}.*") if file.suffix != ".npy")
        with Image.open(picture) as image:
            box = await find_face(detector, image.convert("RGB"))
        if box is None:
            continue
        found += 1
        # Their boxes are drawn by hand, on pictures of other sizes.
        top, bottom, left, right, height, width = np.load(path)
        x = (box.left + box.right) / 2 / image.width
        y = (box.top + box.bottom) / 2 / image.height
        assert left / width < x < right / width
        assert top / height < y < bottom / height
    assert found


async def test_a_picture_without_a_face_has_none(detector: OnnxEngine) -> None:
    assert await find_face(detector, Image.linear_gradient("L").convert("RGB")) is None


@pytest.mark.slow
async def test_triton_serves_what_the_export_writes(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    workload = Workload("preview", SIZES, WINDOWS)
    write_detector(repository, workload)
    image = np.random.default_rng(0).uniform(0, 255, (1, 3, 64, 96)).astype(np.float32)
    expected = await OnnxEngine(repository).run(FACE_DETECTOR, {"image": image})
    scene = Scene(repository, tmp_path / "run", tmp_path / "triton.log")
    async with scene.start(find_installation(), threads=Threads(intra_op=1)) as triton:
        engine = TritonEngine(triton.grpc_url, timeout_s=60)
        actual = await engine.run(FACE_DETECTOR, {"image": image})
        await engine.close()
    for tensor in FACE_DETECTOR.outputs:
        np.testing.assert_allclose(actual[tensor.name], expected[tensor.name], rtol=1e-4, atol=1e-5)


async def test_a_box_is_in_pixels_of_the_portrait_and_inside_it() -> None:
    image = Image.new("RGB", (1280, 900))
    image.paste("white", (200, 0, 600, 400))
    box = await find_face(FakeEngine(), image)
    assert box is not None
    assert box.left == pytest.approx(200, abs=10)
    assert box.right == pytest.approx(600, abs=10)
    assert 0 <= box.top < 10
    assert box.bottom == pytest.approx(400, abs=10)


def test_a_missing_package_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.models.face_detector.PACKAGE", "no-such-package")
    with pytest.raises(PackageMissingError, match="pip install"):
        face_detector()
