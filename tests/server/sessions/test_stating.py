"""Settings of generation: the table agrees with the contract, and whoever checks follows it."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from echomimic_client import choices
from server.animation.defaults import SETTINGS, VARIANT_DEFAULTS, GenerationSettings
from server.animation.teacache import TeaCache
from server.errors import InvalidFieldError
from server.manifest import ManifestError
from server.sessions.jobs import Offer
from server.sessions.stating import SHORTHANDS, with_stated
from server.settings import Settings
from server.triton.contract import Variant
from tests.support.serving import manifest, small_windows

RANGES = {name: setting.range for name, setting in SETTINGS.items() if setting.range}
OF_OPERATORS = SETTINGS.keys() & Settings.model_fields.keys()
PREVIEW_ONLY = {name for name, setting in SETTINGS.items() if setting.preview_only}


def test_table_contract_and_client_have_the_same_settings_in_the_same_order() -> None:
    names = list(SETTINGS)
    stated = [*names, *SHORTHANDS]
    assert list(pb.GenerationSettings.DESCRIPTOR.fields_by_name) == stated
    assert [field.name for field in fields(choices.GenerationSettings)] == stated
    assert [field.name for field in fields(GenerationSettings)] == names


def test_every_number_has_a_range_and_every_default_is_in_it() -> None:
    for settings in VARIANT_DEFAULTS.values():
        values = {name: getattr(settings, name) for name in SETTINGS}
        numbers = {n for n, value in values.items() if type(value) in (int, float)}
        assert numbers == RANGES.keys()
        assert all(low <= values[name] <= high for name, (low, high) in RANGES.items())


def stated(variant: Variant, **values: Any) -> GenerationSettings:
    offer = Offer(small_windows(steps=None), manifest(variant))
    return with_stated(offer.generation, values, offer, "here")


@pytest.mark.parametrize("name", RANGES)
def test_numbers_outside_the_range_of_the_table_are_refused_by_name(name: str) -> None:
    low, high = RANGES[name]
    for value in (low, min(high, 50)):
        assert getattr(stated("preview", **{name: value}), name) == value
    for value in (low - 1, high + (1 if isinstance(high, int) else 0.1) + high, math.nan, math.inf):
        with pytest.raises(InvalidFieldError, match=rf"^here\.{name}: is .*; send .* to "):
            stated("preview", **{name: value})


@pytest.mark.parametrize(("preset", "steps"), [("fast", 6), ("balanced", 8), ("maximum", 12)])
def test_a_preset_is_a_number_of_steps(preset: str, steps: int) -> None:
    assert stated("flash", preset=preset).steps == steps
    assert Offer(small_windows(steps=None, preset=preset), manifest()).generation.steps == steps
    assert Offer(small_windows(steps=4, preset=preset), manifest()).generation.steps == 4


def test_a_preset_that_is_none_or_has_too_many_steps_is_refused_with_the_known_names() -> None:
    known = "ask for one of fast, balanced, maximum$"
    with pytest.raises(InvalidFieldError, match=rf"^here\.preset: is none of .*{known}"):
        stated("flash", preset="slow")
    offer = Offer(small_windows(max_steps=8), manifest())
    with pytest.raises(InvalidFieldError, match=r"ask for one of fast, balanced$"):
        with_stated(offer.generation, {"preset": "maximum"}, offer, "here")


@pytest.mark.parametrize(
    ("variant", "strength"), [("flash", "audio_guidance"), ("preview", "text_guidance")]
)
def test_the_strength_of_the_style_is_the_variants_own_guidance(
    variant: Variant, strength: str
) -> None:
    authors = VARIANT_DEFAULTS[variant]
    assert stated(variant, style_cfg=2.25) == replace(authors, **{strength: 2.25})
    stating = {"steps": None, "style_cfg": 2.25}
    of_operator = Offer(small_windows(**stating), manifest(variant)).generation
    assert of_operator == replace(authors, **{strength: 2.25})
    both = small_windows(**stating, **{strength: 4.5})
    assert getattr(Offer(both, manifest(variant)).generation, strength) == 4.5
    with pytest.raises(InvalidFieldError, match=rf"style_cfg: states {strength}, too; leave one"):
        stated(variant, style_cfg=2.25, **{strength: 3.0})
    with pytest.raises(InvalidFieldError, match=r"here\.style_cfg: is 0\.5; send 1 to 20"):
        stated(variant, style_cfg=0.5)


def test_a_preset_and_steps_do_not_go_together() -> None:
    with pytest.raises(InvalidFieldError, match=r"here\.preset: states steps, too; leave one out"):
        stated("flash", preset="fast", steps=6)


def test_the_operator_limits_the_steps() -> None:
    with pytest.raises(InvalidFieldError, match=r"here\.steps: is 51; send 1 to 50"):
        stated("flash", steps=51)


@pytest.mark.parametrize("name", SETTINGS)
def test_flash_refuses_what_it_has_no_use_for_and_takes_the_rest(name: str) -> None:
    value = getattr(VARIANT_DEFAULTS["preview"], name)
    given = {name: {} if value is None else value}
    if name in PREVIEW_ONLY:
        with pytest.raises(InvalidFieldError, match=rf"here\.{name}: has no effect"):
            stated("flash", **given)
    else:
        stated("flash", **given)
    stated("preview", **given)


@pytest.mark.parametrize("name", sorted(OF_OPERATORS & RANGES.keys()))
def test_an_operators_default_outside_the_range_is_refused(name: str) -> None:
    _, high = RANGES[name]
    with pytest.raises(ManifestError, match=name):
        Offer(small_windows(**{name: int(high) + 1, "max_steps": 64}), manifest("preview"))


@pytest.mark.parametrize("name", sorted(OF_OPERATORS & PREVIEW_ONLY))
def test_an_operators_default_without_use_is_refused(name: str) -> None:
    given = {name: getattr(VARIANT_DEFAULTS["preview"], name)}
    assert getattr(Offer(small_windows(**given), manifest("preview")).generation, name)
    with pytest.raises(ManifestError, match=f"{name} has no effect with flash"):
        Offer(small_windows(**given), manifest("flash"))


@pytest.mark.parametrize("name", ["prompt", "negative_prompt"])
def test_an_operators_prompt_that_calls_may_not_have_is_refused(name: str) -> None:
    Offer(small_windows(**{name: 150 * "é"}, max_prompt_bytes=300), manifest("preview"))
    with pytest.raises(ManifestError, match=f"^{name} has 302 bytes, but max_prompt_bytes is 300$"):
        Offer(small_windows(**{name: 151 * "é"}, max_prompt_bytes=300), manifest("preview"))


def test_a_style_that_calls_may_not_have_is_refused() -> None:
    styles = {"natural": VARIANT_DEFAULTS["flash"].prompt, "calm": 101 * "a"}
    described = manifest().model_copy(update={"styles": styles})
    with pytest.raises(ManifestError, match=r"^style calm of .* has 101 bytes, .* is 100$"):
        Offer(small_windows(max_prompt_bytes=100), described)


def test_teacache_takes_its_own_defaults_and_no_longer_a_warm_up_than_there_are_steps() -> None:
    assert stated("flash", teacache={}).teacache == TeaCache()
    assert stated("flash", steps=3, teacache={}).teacache == TeaCache(warm_up=3)
    shared = {"policy": "shared", "threshold": 0.5}
    assert stated("flash", teacache=shared).teacache == TeaCache("shared", 0.5)
    assert stated("preview", teacache=shared).teacache == TeaCache("per_branch", 0.5)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"sampler": None}, "sampler"),
        ({"teacache": {"policy": None}}, "teacache.policy"),
        ({"teacache": {"threshold": math.inf}}, "teacache.threshold"),
        ({"steps": 4, "teacache": {"warm_up": 5}}, "teacache.warm_up"),
    ],
)
def test_words_and_parts_that_make_no_sense_are_refused_by_name(
    values: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        stated("flash", **values)
    assert caught.value.field == f"here.{field}"
