"""What frames show of a portrait has their shape and the whole head in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.pictures.framing import Framing, framed, head_of, shown_part
from server.pictures.portrait import cropped

SQUARE = (512, 512)


def test_without_a_face_it_is_the_middle_as_it_always_was() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (300, 200, 3), np.uint8))
    expected, placement = cropped(image, 64, 64)
    shown = shown_part(image.size, (64, 64), None, Framing.FILL)
    assert shown == (0, 50, 200, 250)
    picture, placed = framed(image, shown, (64, 64))
    np.testing.assert_array_equal(picture, expected)
    assert placed == placement


def test_a_head_at_the_top_moves_what_is_shown() -> None:
    # A phone's picture: the middle would cut the head off.
    left, top, right, bottom = shown_part((1080, 1920), SQUARE, (400, 250, 700, 650), Framing.FILL)
    assert (left, right) == (0, 1080)
    assert top == pytest.approx(250 - 0.45 * 400)
    assert bottom - top == 1080


def test_a_head_that_is_too_long_is_shown_whole_with_the_frame_filled_up() -> None:
    face = (100, 500, 980, 1500)
    left, top, right, bottom = shown_part((1080, 1920), SQUARE, face, Framing.FILL)
    assert right - left == pytest.approx(bottom - top)
    assert left < 0 < 1080 < right
    assert top <= 50
    assert bottom >= 1600


def test_what_is_filled_up_is_neither_black_nor_sharp() -> None:
    image = Image.new("RGB", (100, 400), (200, 100, 50))
    picture, placement = framed(image, (-150, 0, 250, 400), (128, 128))
    np.testing.assert_allclose(picture, np.broadcast_to((200, 100, 50), picture.shape), atol=2)
    assert placement.point(0, 0) == pytest.approx((48, 0))
    assert placement.point(100, 400) == pytest.approx((80, 128))


def test_head_and_shoulders_are_cut_out_of_a_whole_person() -> None:
    face = (450, 200, 550, 330)
    left, top, right, bottom = shown_part((1000, 2000), SQUARE, face, Framing.HEAD_AND_SHOULDERS)
    assert bottom - top == pytest.approx(2.4 * 130)
    assert (left + right) / 2 == pytest.approx(500)
    assert top < 200 - 0.45 * 130
    assert bottom > 330 + 100


def test_head_and_shoulders_of_a_close_picture_are_what_there_is() -> None:
    face = (120, 100, 400, 420)
    shown = shown_part(SQUARE, SQUARE, face, Framing.HEAD_AND_SHOULDERS)
    assert shown == (0, 0, 512, 512)


@given(
    st.tuples(st.integers(64, 4000), st.integers(64, 4000)),
    st.tuples(st.integers(64, 1024), st.integers(64, 1024)),
    st.tuples(*[st.floats(0, 0.9)] * 2, *[st.floats(0.05, 1)] * 2),
    st.sampled_from(Framing),
)
def test_a_head_that_is_in_the_portrait_is_in_what_is_shown(
    portrait: tuple[int, int],
    frame: tuple[int, int],
    place: tuple[float, float, float, float],
    framing: Framing,
) -> None:
    x, y, width, height = place
    left, top = x * portrait[0], y * portrait[1]
    face = (left, top, left + width * (portrait[0] - left), top + height * (portrait[1] - top))
    shown = shown_part(portrait, frame, face, framing)
    head = head_of(face, portrait)
    assert (shown[2] - shown[0]) / (shown[3] - shown[1]) == pytest.approx(
        frame[0] / frame[1], rel=1e-3
    )
    slack = max(portrait) * 1e-3
    if framing is Framing.FILL:
        assert shown[0] <= head[0] + slack
        assert shown[1] <= head[1] + slack
        assert shown[2] >= head[2] - slack
        assert shown[3] >= head[3] - slack


@pytest.mark.parametrize("shown", [(-3.2, -1.7, 40.9, 42.4), (0, 0, 1, 1), (-500, -500, 600, 600)])
def test_any_part_makes_a_frame(shown: tuple[float, float, float, float]) -> None:
    picture, _ = framed(Image.new("RGB", (64, 80), "white"), shown, (96, 96))
    assert picture.shape == (96, 96, 3)
