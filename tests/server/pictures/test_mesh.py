"""Faces are found with their points, lids and irises, however they lie in the picture."""

import numpy as np
import pytest
from PIL import Image

from server.pictures.mesh import MAX_FACES, FaceMesh, find_meshes, follow_face, has_mesh
from server.triton.contract import NETWORKS, PORTRAIT_NETWORKS
from tests.support.onnx_engine import OnnxEngine
from tests.support.paths import ROOT

MEDIA = ROOT / "docs" / "media"
NOSE, CHIN, BROW, LEFT_CHEEK, RIGHT_CHEEK = 1, 152, 10, 234, 454
DRAWN_EYES = ((212.8, 203.5), (319.5, 203.5))
"""Of the demo's portrait, by hand."""
PHOTOGRAPHED_EYES = ((203.5, 100.4), (247, 103.3))
"""Of the photograph."""


@pytest.fixture(scope="module")
def engine() -> OnnxEngine:
    return OnnxEngine(ROOT / "export" / "demo" / "model_repository")


def picture(name: str) -> np.ndarray:
    with Image.open(MEDIA / name) as image:
        return np.asarray(image.convert("RGB"))


async def only(engine: OnnxEngine, pixels: np.ndarray) -> FaceMesh:
    (mesh,) = await find_meshes(engine, pixels)
    return mesh


@pytest.mark.parametrize(
    ("name", "eyes"), [("portrait.png", DRAWN_EYES), ("photograph.jpg", PHOTOGRAPHED_EYES)]
)
async def test_irises_are_where_they_are_seen(
    engine: OnnxEngine, name: str, eyes: tuple[tuple[float, float], ...]
) -> None:
    mesh = await only(engine, picture(name))
    left, _, right, _ = mesh.box
    for eye, expected in zip(mesh.eyes, eyes, strict=True):
        np.testing.assert_allclose(eye.iris, expected, atol=(right - left) / 40)
        assert 0.02 < eye.iris_radius / (right - left) < 0.08
        assert eye.openness > 0.2
    assert mesh.score > 0.9
    assert mesh.points.shape == (468, 3)


async def test_points_are_those_of_the_canonical_face(engine: OnnxEngine) -> None:
    points = (await only(engine, picture("photograph.jpg"))).points
    assert points[BROW, 1] < points[NOSE, 1] < points[CHIN, 1]
    assert points[LEFT_CHEEK, 0] < points[NOSE, 0] < points[RIGHT_CHEEK, 0]
    # The nose is nearer.
    assert points[NOSE, 2] < points[[LEFT_CHEEK, RIGHT_CHEEK], 2].min()


async def test_lids_go_from_temple_to_nose_and_the_upper_one_is_above(engine: OnnxEngine) -> None:
    left, right = (await only(engine, picture("portrait.png"))).eyes
    for eye, towards_nose in ((left, 1), (right, -1)):
        assert eye.upper_lid.shape == eye.lower_lid.shape == (9, 2)
        np.testing.assert_array_equal(eye.upper_lid[[0, -1]], eye.lower_lid[[0, -1]])
        assert (np.diff(eye.upper_lid[:, 0]) * towards_nose > 0).all()
        assert (eye.upper_lid[1:-1, 1] < eye.lower_lid[1:-1, 1]).all()


@pytest.mark.parametrize("quarters", [1, 2, 3])
async def test_a_picture_that_lies_has_its_face_too(engine: OnnxEngine, quarters: int) -> None:
    upright = picture("photograph.jpg")
    expected = (await only(engine, upright)).points[:, :2] - 256
    for _ in range(quarters):
        # As np.rot90 turns it.
        expected = np.stack([expected[:, 1], -expected[:, 0]], axis=1)
    found = (await only(engine, np.rot90(upright, quarters).copy())).points[:, :2] - 256
    np.testing.assert_allclose(found, expected, atol=5)


async def test_faces_come_the_largest_first(engine: OnnxEngine) -> None:
    pixels = picture("portrait.png")
    both = np.zeros((512, 800, 3), np.uint8)
    both[100:356, 20:276], both[:, 288:] = pixels[::2, ::2], pixels
    faces = await find_meshes(engine, both)
    assert [face.box[0] > 288 for face in faces] == [True, False]


@pytest.mark.parametrize("side", [128, 2000])
async def test_a_face_fills_any_number_of_pixels(engine: OnnxEngine, side: int) -> None:
    resized = Image.open(MEDIA / "portrait.png").convert("RGB").resize((side, side))
    mesh = await only(engine, np.asarray(resized))
    for eye, (x, y) in zip(mesh.eyes, DRAWN_EYES, strict=True):
        np.testing.assert_allclose(eye.iris * 512 / side, (x, y), atol=6)


@pytest.mark.parametrize("shape", [(512, 512), (64, 512), (2, 3), (1, 1)])
async def test_a_picture_without_a_face_has_no_mesh(
    engine: OnnxEngine, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    assert await find_meshes(engine, noise) == ()


async def test_a_face_that_is_followed_is_the_one_that_is_found(engine: OnnxEngine) -> None:
    still = picture("photograph.jpg")
    moved = [still[n:, n:][:400, :400].copy() for n in range(MAX_FACES + 2)]
    followed = await follow_face(engine, moved, await only(engine, moved[0]))
    assert len(followed) == len(moved)
    for pixels, mesh in zip(moved, followed, strict=True):
        plain = await only(engine, pixels)
        assert mesh is not None
        np.testing.assert_allclose(mesh.points[:, :2], plain.points[:, :2], atol=3)
        for eye, expected in zip(mesh.eyes, plain.eyes, strict=True):
            np.testing.assert_allclose(eye.iris, expected.iris, atol=1)
            assert eye.openness == pytest.approx(expected.openness, abs=0.05)


async def test_a_face_that_is_gone_is_lost(engine: OnnxEngine) -> None:
    still = picture("photograph.jpg")
    gone = np.random.default_rng(0).integers(0, 256, still.shape, np.uint8)
    followed = await follow_face(engine, [still, gone], await only(engine, still))
    assert [mesh is None for mesh in followed] == [False, True]
    assert await follow_face(engine, [], await only(engine, still)) == []


async def test_of_a_crowd_only_some_are_looked_at(engine: OnnxEngine) -> None:
    face = picture("photograph.jpg")[40:200, 140:300]
    crowd = np.tile(face, (4, 4, 1))
    assert 1 < len(await find_meshes(engine, crowd)) <= MAX_FACES


def test_a_repository_may_be_without() -> None:
    flash = NETWORKS["flash"].keys()
    assert not has_mesh(frozenset(flash))
    assert not has_mesh(frozenset(flash | {"face_mesh"}))
    assert has_mesh(frozenset(flash | PORTRAIT_NETWORKS.keys()))
