"""What the gateway says about its settings at start, and of those that cannot be used."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.settings import Settings, changed, mistyped
from tests.support.serving import small_windows


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


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ("", []),
        ("triton:8001", ["triton:8001"]),
        ("10.0.0.7:8001,triton-1.triton:8001", ["10.0.0.7:8001", "triton-1.triton:8001"]),
        ("[::1]:8001,[fe80::1%eth0]:8001", ["[::1]:8001", "[fe80::1%eth0]:8001"]),
    ],
)
def test_tritons_are_named_by_host_and_port(urls: str, expected: list[str]) -> None:
    assert small_windows(triton_url=urls).triton_urls == expected


@pytest.mark.parametrize(
    "urls", ["triton", "http://triton:8001", "::1:8001", "triton:8001, other:8001", ",", "[::1]"]
)
def test_what_names_no_triton_is_refused_with_examples(urls: str) -> None:
    with pytest.raises(ValidationError, match=r"as triton:8001, 10\.0\.0\.7:8001 or \[::1\]:8001"):
        small_windows(triton_url=urls)
