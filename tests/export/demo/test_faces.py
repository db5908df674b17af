"""The drawn faces: what the sound asks of a mouth, and that a mouth can be read again."""

import numpy as np
import pytest

from export.demo.faces import random_face
from export.demo.mouths import motion
from export.demo.voices import HELD_OUT, TRAINING, utterance
from server.audio.clock import MODEL_RATE_HZ, MODEL_SAMPLES_PER_FRAME
from tests.support.lip_sync import correlation, openings
from tests.support.talking import SIDE, held_out_clip

FACES = 6


def voiced(seconds: float, pitch_hz: float = 150.0) -> np.ndarray:
    time = np.arange(round(seconds * MODEL_RATE_HZ)) / MODEL_RATE_HZ
    return 0.1 * np.sin(2 * np.pi * pitch_hz * time)


def test_silence_shuts_the_mouth_and_sound_opens_it() -> None:
    sound = voiced(1.0)
    moved = motion(np.concatenate([np.zeros_like(sound), sound]))
    assert len(moved.openings) == 50
    assert moved.openings[:22].max() == 0
    assert moved.openings[28:].min() > 0.9


def test_loudness_of_a_whole_recording_does_not_matter() -> None:
    clip = held_out_clip(0, 3.0)
    quiet = motion(clip.samples / 4)
    np.testing.assert_allclose(motion(clip.samples).openings, quiet.openings, atol=0.02)


def test_noise_that_is_too_quiet_opens_no_mouth() -> None:
    noise = 1e-4 * np.random.default_rng(0).standard_normal(2 * MODEL_RATE_HZ)
    assert motion(noise).openings.max() == 0


def test_bright_sound_makes_a_wider_mouth_than_dull_sound() -> None:
    assert motion(voiced(1.0, 3000)).widths.mean() > motion(voiced(1.0, 200)).widths.mean() + 0.5


def test_a_begun_frame_counts_as_one() -> None:
    assert len(motion(np.zeros(MODEL_SAMPLES_PER_FRAME + 1)).openings) == 2


@pytest.mark.parametrize("seed", range(FACES))
def test_openings_of_a_drawn_film_can_be_read(seed: int) -> None:
    face = random_face(np.random.default_rng([1, seed]))
    true = np.linspace(0, 1, 21)
    frames = face.draw(true.tolist(), [0.5] * 21)
    assert frames.shape == (21, SIDE, SIDE, 3)
    np.testing.assert_allclose(openings(face, frames), true, atol=0.041)


def test_only_the_mouth_moves() -> None:
    face = random_face(np.random.default_rng(2))
    closed, wide = face.draw([0.0, 1.0], [0.0, 1.0]).astype(int)
    moved = np.abs(closed - wide).max(axis=2)
    moved[face.mouth_box] = 0
    assert moved.max() == 0


def test_same_seed_draws_and_says_the_same() -> None:
    first, again = held_out_clip(3, 2.0), held_out_clip(3, 2.0)
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.samples, again.samples)


def test_nobody_held_out_is_heard_in_training() -> None:
    sentences = [set().union(*corpus.sentences.values()) for corpus in (TRAINING, HELD_OUT)]
    assert not sentences[0] & sentences[1]
    assert not set(TRAINING.speakers) & set(HELD_OUT.speakers)


def test_training_speaks_is_silent_and_makes_music() -> None:
    silent = utterance(np.random.default_rng(0), TRAINING, 2.0, silent_share=1.0)
    music = utterance(np.random.default_rng(0), TRAINING, 2.0, music_share=1.0, silent_share=0.0)
    assert motion(silent).openings.max() == 0
    assert motion(music).openings.max() > 0.5


def test_correlation_finds_a_delay() -> None:
    true = np.random.default_rng(0).random(60)
    seen = np.roll(true, 3)
    assert correlation(seen, true, 3) == pytest.approx(1)
    assert abs(correlation(seen, true, 0)) < 0.5
