"""Pins are raised together, and nothing else in the file changes."""

import re

from tests.support.update_pins import PYPROJECT, at_least, normalised, pinned

TEXT = """
requires = ["hatchling==1.33.0"]
dependencies = ["grpcio==1.81.2", "numpy==2.4.6", "PyYAML==6.0.3"]
server = [
    "tritonclient[grpc]==2.73.0",  # holds protobuf
    "numpy==2.4.6",
]
requires-python = ">=3.11,<3.12"
"""


def test_each_package_is_resolved_once_and_not_lowered() -> None:
    assert at_least(TEXT) == [
        "PyYAML>=6.0.3",
        "grpcio==1.81.2",
        "hatchling>=1.33.0",
        "numpy>=2.4.6",
        "tritonclient[grpc]>=2.73.0",
    ]


def test_every_pin_is_raised_and_nothing_else_changes() -> None:
    newest = {
        "grpcio": "1.81.2",
        "hatchling": "2.0",
        "numpy": "2.5.0",
        "pyyaml": "7",
        "tritonclient": "3.0+cpu",
    }
    expected = (
        TEXT.replace("1.33.0", "2.0")
        .replace("2.4.6", "2.5.0")
        .replace("6.0.3", "7")
        .replace("2.73.0", "3.0")
    )
    assert pinned(TEXT, newest) == expected


def test_every_version_of_the_project_is_a_pin() -> None:
    text = PYPROJECT.read_text()
    assert text.count("==") == pinned(text, dict.fromkeys(names(text), "0")).count("==0")


def names(text: str) -> list[str]:
    return [normalised(re.split(r"[\[>=]", requirement)[0]) for requirement in at_least(text)]
