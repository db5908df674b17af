"""What is said of goals."""

from tests.bench.goals import GOALS, Goal, goals_table


def one(part: object) -> float:
    return 1.0


def test_a_limit_itself_is_good_enough() -> None:
    assert Goal("g", "part", one, "s", most=1).reached(1.0)
    assert not Goal("g", "part", one, "s", most=0.9).reached(1.0)
    assert Goal("g", "part", one, "", least=1).reached(1.0)
    assert not Goal("g", "part", one, "", least=1.1).reached(1.0)


def test_a_quick_run_measures_no_goal() -> None:
    quick = {name: {"quick": True} for name in ("hollow", "streams", "baseline")}
    assert goals_table(quick).count("not measured") == len(GOALS)
    assert goals_table({}).count("not measured") == len(GOALS)
