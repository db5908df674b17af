"""Speech to zero mean and unit variance."""

import numpy as np

from server.audio.normalizer import RunningNormalizer


def test_one_piece_is_normalised_as_the_authors_do_a_file() -> None:
    samples = np.random.default_rng(0).normal(0.1, 0.2, 5_000).astype(np.float32)
    expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    np.testing.assert_allclose(RunningNormalizer()(samples, 0), expected, atol=1e-5)


def test_normalisation_remembers_what_came_before() -> None:
    samples = np.random.default_rng(0).normal(0, 0.2, 9_000).astype(np.float32)
    samples[6_000:] *= 0.01
    normalize = RunningNormalizer()
    normalize(samples[:6_000], 0)
    # The second piece overlaps the first, which counts once.
    quiet = normalize(samples[4_000:], 4_000)
    expected = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    np.testing.assert_allclose(quiet, expected[4_000:], atol=1e-5)
    assert np.abs(quiet[2_000:]).max() < 0.1


def test_silence_stays_silent() -> None:
    hiss = np.random.default_rng(0).normal(0, 1e-5, 5_000).astype(np.float32)
    assert np.abs(RunningNormalizer()(hiss, 0)).max() < 0.1
