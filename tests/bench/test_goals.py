"""What is said of goals."""

from tests.bench.goals import GOALS, Goal, goals_table, verdict
from tests.bench.machine import Used, others_share


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


def test_a_time_beside_other_programs_decides_nothing() -> None:
    time_s, bytes_ = Goal("g", "part", one, "s", 1), Goal("g", "part", one, "MB", 1, timed=False)
    assert verdict(time_s, 2.0, others=0.01) == "**missed**"
    assert verdict(time_s, 2.0, others=0.5) == "inconclusive"
    assert verdict(time_s, 1.0, others=0.5) == "inconclusive"
    assert verdict(time_s, 1.0, others=None) == "inconclusive"
    assert verdict(time_s, 1.0, others=0.01) == "reached"
    assert verdict(bytes_, 2.0, others=0.5) == "**missed**"


def test_what_the_machine_did_besides_is_of_other_programs() -> None:
    before, after = Used(0, 100, 10), Used(10, 116, 16)
    assert others_share(before, after, cores=2) == 0.5
    assert others_share(before, Used(10, 105, 16), cores=2) == 0
    assert Used.now().machine_s > Used.now().own_s > 0
