"""Percentiles and verdicts."""

import pytest

from tests.bench.spread import Verdict, compare, median, percentile, spread


def test_a_percentile_is_one_of_the_values() -> None:
    values = [5.0, 1.0, 4.0, 2.0, 3.0]
    assert [percentile(values, rank) for rank in (1, 20, 21, 50, 99, 100)] == [1, 1, 2, 3, 5, 5]
    assert median([1.0, 2.0, 3.0, 100.0]) == 2


@pytest.mark.parametrize(("values", "rank"), [([], 50), ([1.0], 0), ([1.0], 101)])
def test_what_is_no_percentile_is_refused(values: list[float], rank: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile(values, rank)


def test_a_difference_beyond_the_spread_of_runs_decides() -> None:
    assert spread([[1.0, 1.2], [1.3]]) == pytest.approx(0.3)
    assert compare([[1.0], [1.1]], [[2.0], [2.1]]) is Verdict.LESS
    assert compare([[2.0], [2.1]], [[1.0], [1.1]]) is Verdict.MORE


def test_a_difference_within_the_spread_of_runs_decides_nothing() -> None:
    assert compare([[1.0], [2.0]], [[2.0], [2.5]]) is Verdict.INCONCLUSIVE
