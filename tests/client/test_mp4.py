"""The MP4 writer: what players find in its files."""

import io

import av
import numpy as np
import pytest

from echomimic_client.mp4 import Mp4Writer

WIDTH, HEIGHT, FPS = 128, 96, 25


def film(pictures: np.ndarray, samples: np.ndarray, rate: int) -> bytes:
    writer = Mp4Writer(WIDTH, HEIGHT, FPS, rate)
    writer.add_pictures(pictures)
    return writer.finish(samples)


def plain(count: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((count, HEIGHT, WIDTH, 3), colour, np.uint8)


def sound(data: bytes) -> np.ndarray:
    """Decoded samples at 48 kHz."""
    with av.open(io.BytesIO(data), "r") as container:
        return np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])


def tone(samples: int, rate: int) -> np.ndarray:
    return (0.4 * np.sin(2 * np.pi * 300 * np.arange(samples) / rate)).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_pictures_and_sound_are_as_long_as_they_were(rate: int) -> None:
    samples = int(1.5 * rate) + 7
    data = film(plain(38, (90, 90, 90)), tone(samples, rate), rate)
    with av.open(io.BytesIO(data), "r") as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert len(list(container.decode(video))) == 38
        assert float(video.average_rate or 0) == FPS
        assert video.duration is not None
        assert video.time_base is not None
        assert float(video.duration * video.time_base) == pytest.approx(38 / FPS)
        assert audio.duration is not None
        assert audio.time_base is not None
        length_s = float(audio.duration * audio.time_base)
    assert length_s == pytest.approx(samples / rate, abs=1 / FPS)


def test_sound_is_where_it_was() -> None:
    rate = 16_000
    samples = np.zeros(2 * rate, np.float32)
    samples[rate : rate + rate // 10] = tone(rate // 10, rate)
    heard = sound(film(plain(50, (90, 90, 90)), samples, rate))
    loud = np.flatnonzero(np.abs(heard) > 0.1) / 48_000
    assert loud[0] == pytest.approx(1.0, abs=0.005)
    assert loud[-1] == pytest.approx(1.1, abs=0.005)


def test_sound_keeps_its_form_across_the_pieces_it_is_written_in() -> None:
    rate = 22_050
    samples = tone(3 * rate, rate)
    heard = sound(film(plain(75, (90, 90, 90)), samples, rate))[: 3 * 48_000]
    expected = tone(len(heard), 48_000)
    assert np.abs(heard - expected)[2_000:-2_000].max() < 0.05


def test_pictures_come_in_order() -> None:
    pictures = np.concatenate([plain(1, (shade, shade, shade)) for shade in range(20, 220, 10)])
    data = film(pictures, tone(12_800, 16_000), 16_000)
    with av.open(io.BytesIO(data), "r") as container:
        shades = [f.to_ndarray(format="rgb24").mean() for f in container.decode(video=0)]
    assert shades == pytest.approx(range(20, 220, 10), abs=3)


@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 180, 60), (30, 60, 210), (224, 172, 140)])
def test_colours_are_those_that_the_file_states(colour: tuple[int, int, int]) -> None:
    data = film(plain(5, colour), tone(3_200, 16_000), 16_000)
    with av.open(io.BytesIO(data), "r") as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        # BT.709, limited range.
        luma, blue, red = (float(plane.mean()) for plane in _planes(frame))
        assert (frame.colorspace, frame.color_range) == (1, 1)
    y, cb, cr = (luma - 16) / 219, (blue - 128) / 224, (red - 128) / 224
    rgb = (y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb)
    assert np.multiply(rgb, 255) == pytest.approx(colour, abs=4)


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    stacked = frame.to_ndarray(format="yuv420p")
    quarter = HEIGHT * WIDTH // 4
    rest = stacked[HEIGHT:].reshape(-1)
    return [stacked[:HEIGHT], rest[:quarter], rest[quarter:]]


def test_the_index_is_in_front() -> None:
    data = film(plain(5, (90, 90, 90)), tone(3_200, 16_000), 16_000)
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_file_without_sound_is_a_film_too() -> None:
    data = film(plain(5, (90, 90, 90)), np.zeros(0, np.float32), 16_000)
    with av.open(io.BytesIO(data), "r") as container:
        assert len(list(container.decode(video=0))) == 5


@pytest.mark.parametrize("rate", [8_000, 48_000])
@pytest.mark.parametrize("samples", [0, 1, 30])
def test_sound_of_a_few_samples_has_a_track(rate: int, samples: int) -> None:
    heard = sound(film(plain(1, (90, 90, 90)), np.zeros(samples, np.float32), rate))
    assert len(heard) > 0
    assert np.abs(heard).max() < 0.001
