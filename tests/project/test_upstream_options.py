"""Whoever knows the authors' programs finds each of their options in the docs."""

import re

import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from tests.support.paths import ROOT
from tests.support.reference import reference_fixture

PAGE = ROOT / "docs" / "upstream-options.md"
DEFAULTS = {"pipeline_flash": "default_args", "pipeline_preview": "upstream_default_config"}


@pytest.mark.parametrize("folder", DEFAULTS)
def test_every_option_of_the_authors_is_named(folder: str) -> None:
    options = reference_fixture(folder).config[DEFAULTS[folder]]
    page = PAGE.read_text()
    assert [option for option in options if f"`{option}`" not in page] == []


def test_every_setting_of_the_contract_is_named() -> None:
    page = PAGE.read_text()
    fields = [
        *pb.GenerationSettings.DESCRIPTOR.fields_by_name,
        *pb.ExactClip.DESCRIPTOR.fields_by_name,
    ]
    assert [field for field in fields if not re.search(rf"[`.]{field}`", page)] == []
