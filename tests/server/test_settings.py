"""What the gateway says about its settings at start."""

from pathlib import Path

import pytest

from server.settings import Settings, changed, mistyped


def test_what_differs_from_the_defaults_is_told() -> None:
    assert changed(Settings.model_validate({})) == {}
    given = {"port": 1, "repository": Path("models"), "max_streams": 4}
    assert changed(Settings.model_validate(given)) == {"port": 1, "repository": "models"}


@pytest.mark.parametrize(
    ("variable", "line"),
    [
        (
            "ECHOMIMIC_MAX_STREAM",
            "ECHOMIMIC_MAX_STREAM is no setting; did you mean ECHOMIMIC_MAX_STREAMS?",
        ),
        ("echomimic_porrt", "echomimic_porrt is no setting; did you mean ECHOMIMIC_PORT?"),
        ("ECHOMIMIC_XYZ", "ECHOMIMIC_XYZ is no setting"),
    ],
)
def test_a_mistyped_variable_is_named_with_the_nearest(variable: str, line: str) -> None:
    assert list(mistyped([variable])) == [line]


def test_variables_that_are_settings_or_not_ours_are_not_named() -> None:
    assert not list(mistyped(["ECHOMIMIC_PORT", "echomimic_max_streams", "PATH", "ECHO_PORT"]))
