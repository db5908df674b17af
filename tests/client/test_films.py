"""The writer of films: what players find in them."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from echomimic_client.film_kinds import FilmKind, kind_of
from echomimic_client.films import FilmWriter

WIDTH, HEIGHT, FPS = 128, 96, Fraction(25)


def film(
    pictures: np.ndarray,
    samples: np.ndarray,
    rate: int,
    kind: FilmKind = "mp4",
    fps: Fraction = FPS,
) -> bytes:
    cuts = [int(n * rate / fps) for n in range(len(pictures))]
    sounds = np.split(samples, cuts[1:])
    with FilmWriter(kind, WIDTH, HEIGHT, fps, rate) as writer:
        pieces = [writer.add(*both) for both in zip(pictures, sounds, strict=True)]
        return b"".join([*pieces, *writer.finish()])


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
    assert length_s == pytest.approx(samples / rate, abs=1 / 25)


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


KINDS: list[FilmKind] = ["mp4", "fragmented_mp4", "webm", "gif"]
SHADES = range(20, 220, 4)


def shades(data: bytes) -> list[float]:
    with av.open(io.BytesIO(data), "r") as container:
        return [f.to_ndarray(format="rgb24").mean() for f in container.decode(video=0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30_000, 1001)])
def test_every_kind_has_every_picture_in_order_at_its_time(kind: FilmKind, fps: Fraction) -> None:
    pictures = np.concatenate([plain(1, (shade, shade, shade)) for shade in SHADES])
    data = film(pictures, tone(int(len(SHADES) * 16_000 / fps), 16_000), 16_000, kind, fps)
    assert shades(data) == pytest.approx(SHADES, abs=3)
    with av.open(io.BytesIO(data), "r") as container:
        times_s = np.array([frame.time for frame in container.decode(video=0)], float)
    # A fragmented film begins where its sound does, whose encoder needs a moment before it.
    lag_s = 1024 / 48_000 if kind == "fragmented_mp4" else 0.0
    expected = np.arange(len(SHADES)) / float(fps) + lag_s
    assert np.abs(times_s - expected)[1:].max() <= 0.01
    assert times_s[0] == 0


@pytest.mark.parametrize("kind", ["mp4", "fragmented_mp4", "webm"])
def test_sound_comes_with_the_picture_it_belongs_to(kind: FilmKind) -> None:
    rate, bright = 16_000, 30
    pictures = np.concatenate(
        [plain(bright, (20, 20, 20)), plain(5, (200, 200, 200)), plain(15, (20, 20, 20))]
    )
    samples = np.zeros(2 * rate, np.float32)
    samples[bright * 640 : (bright + 5) * 640] = tone(5 * 640, rate)
    data = film(pictures, samples, rate, kind)
    with av.open(io.BytesIO(data), "r") as container:
        (seen_s,) = [
            frame.time
            for number, frame in enumerate(container.decode(video=0))
            if number == bright and frame.to_ndarray(format="gray").mean() > 100
        ]
    heard = np.flatnonzero(np.abs(sound(data)) > 0.1) / 48_000
    assert heard[0] == pytest.approx(seen_s, abs=0.005)
    assert heard[-1] == pytest.approx((seen_s or 0) + 0.2, abs=0.005)


def test_a_fragmented_film_comes_while_it_is_made_and_can_be_played_so_far() -> None:
    writer = FilmWriter("fragmented_mp4", WIDTH, HEIGHT, FPS, 16_000)
    film = bytearray()
    for shade in SHADES[:20]:
        film += writer.add(plain(1, (shade, shade, shade))[0], tone(640, 16_000))
        # The sound's encoder holds some pictures back, with the last cut to come.
        seen = shades(bytes(film)) if film.count(b"moof") else []
        assert len(seen) >= (shade - SHADES.start) // SHADES.step - 3
    assert b"".join(writer.finish())


def test_a_film_that_is_broken_off_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with FilmWriter("mp4", WIDTH, HEIGHT, FPS, 16_000) as writer:
        writer.add(plain(1, (0, 0, 0))[0], tone(640, 16_000))
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())


def test_a_gif_lasts_as_long_as_its_pictures_and_repeats() -> None:
    pictures = np.concatenate([plain(1, (shade, 60, 90)) for shade in SHADES])
    data = film(pictures, np.zeros(1, np.float32), 16_000, "gif", Fraction(30))
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["loop"] == 0
        lengths_ms = [frame.info["duration"] for frame in ImageSequence.Iterator(image)]
    assert len(lengths_ms) == len(SHADES)
    assert sum(lengths_ms) == 1000 * len(SHADES) // 30 // 10 * 10
    assert set(lengths_ms) == {30, 40}


def test_a_film_is_named_by_the_end_of_a_file() -> None:
    assert [kind_of(Path(name)) for name in ("a.MP4", "b.webm", "c.gif")] == ["mp4", "webm", "gif"]
    with pytest.raises(ValueError, match=r"d\.avi names no film; end it with \.mp4, \.webm, \.gif"):
        kind_of(Path("d.avi"))
