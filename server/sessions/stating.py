"""What a client states of generation, checked by the table of settings; the rest stays as it is."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.animation.defaults import SETTINGS, GenerationSettings, style_strength
from server.animation.teacache import TeaCache
from server.errors import InvalidFieldError
from server.sessions.jobs import Offer
from server.triton.contract import Variant

Stated = Mapping[str, Any]
"""Values by the names of settings, or of the `SHORTHANDS` for them. ``teacache`` is a mapping, too,
by the names of TeaCache. None stands for a word that the front end does not know."""

SHORTHANDS = ("preset", "style_cfg")
"""For steps, and for the guidance that is the style's strength in the variant."""
MAX_TEACACHE_THRESHOLD = 10.0


def with_stated(
    settings: GenerationSettings, stated: Stated, offer: Offer, field: str
) -> GenerationSettings:
    """Returns settings with what is stated in their place.

    Args:
        settings: what holds where nothing is stated.
        stated: what a client asks for.
        offer: what it may ask for.
        field: what the client calls its settings.

    Raises:
        InvalidFieldError: a value cannot be used.
    """
    variant = offer.manifest.variant
    stated = _spelled_out(stated, offer, field)
    for name, setting in SETTINGS.items():
        if name in stated and not setting.serves(variant):
            problem = "has no effect in this variant; leave it out"
            raise InvalidFieldError(f"{field}.{name}", problem)
    values = dict(stated)
    teacache = values.pop("teacache", None)
    if values.get("sampler", "") is None:
        raise InvalidFieldError(f"{field}.sampler", "is unknown; GetServerInfo lists them")
    for name in values:
        if SETTINGS[name].is_prompt:
            values[name] = offer.styles.get(values[name], values[name])
    settings = replace(settings, **values)
    _check(settings, offer, field)
    if teacache is not None:
        asked = _teacache(teacache, settings, variant, f"{field}.teacache")
        return replace(settings, teacache=asked)
    return replace(settings, teacache=_within(settings.teacache, settings.steps))


def _spelled_out(stated: Stated, offer: Offer, field: str) -> Stated:
    """Returns settings in place of the shorthands for them."""
    values = dict(stated)
    strength = style_strength(offer.manifest.variant)
    for shorthand, name in (("preset", "steps"), ("style_cfg", strength)):
        if shorthand not in values:
            continue
        if name in values:
            raise InvalidFieldError(f"{field}.{shorthand}", f"states {name}, too; leave one out")
        values[name] = values.pop(shorthand)
        if shorthand == "preset":
            values[name] = _steps(values[name], offer, f"{field}.{shorthand}")
        else:
            check_range(values[name], *(offer.range_of(name) or (0, 0)), f"{field}.{shorthand}")
    return values


def _steps(preset: str, offer: Offer, field: str) -> int:
    if preset not in offer.presets:
        known = ", ".join(offer.presets) or "no preset, but steps"
        raise InvalidFieldError(field, f"is none of this server's presets; ask for one of {known}")
    return offer.presets[preset]


def with_update(
    settings: GenerationSettings, stated: Stated, offer: Offer, field: str
) -> GenerationSettings:
    """Returns the settings of a running stream with what is stated in their place.

    Raises:
        InvalidFieldError: a value cannot be used, or not be changed while a stream runs.
    """
    for name, setting in SETTINGS.items():
        if setting.fixed and stated.get(name, getattr(settings, name)) != getattr(settings, name):
            problem = f"cannot be changed in a stream: {setting.fixed}"
            raise InvalidFieldError(f"{field}.{name}", problem)
    return with_stated(settings, stated, offer, field)


def with_steps(settings: GenerationSettings, most: int) -> GenerationSettings:
    """Returns settings with no more than so many steps."""
    steps = min(settings.steps, most)
    return replace(settings, steps=steps, teacache=_within(settings.teacache, steps))


def check_range(value: float, low: float, high: float, field: str) -> None:
    """Checks a number.

    Raises:
        InvalidFieldError: it is none, or not between the lowest and the highest one.
    """
    if not (math.isfinite(value) and low <= value <= high):
        raise InvalidFieldError(field, f"is {value:g}; send {low:g} to {high:g}")


def _check(settings: GenerationSettings, offer: Offer, field: str) -> None:
    for name, setting in SETTINGS.items():
        value = getattr(settings, name)
        if setting.is_prompt:
            _check_prompt(value, offer, f"{field}.{name}")
        limits = offer.range_of(name)
        if limits is not None:
            check_range(value, *limits, f"{field}.{name}")


def _check_prompt(text: str, offer: Offer, field: str) -> None:
    limit = offer.settings.max_prompt_bytes
    if len(text.encode()) > limit:
        raise InvalidFieldError(field, f"is longer than {limit} bytes")
    if not offer.offers_prompt(text):
        names = ", ".join(offer.styles)
        raise InvalidFieldError(field, f"is none of this server's styles; ask for one of {names}")


def _teacache(
    stated: Stated, settings: GenerationSettings, variant: Variant, field: str
) -> TeaCache | None:
    if stated.get("off"):
        if len(stated) > 1:
            raise InvalidFieldError(f"{field}.off", "goes with nothing else; leave the rest out")
        return None
    if stated.get("policy", "") is None:
        raise InvalidFieldError(f"{field}.policy", "is unknown; ask for EXACT_BRANCHES or UPSTREAM")
    values = {name: value for name, value in stated.items() if name != "off"}
    teacache = replace(settings.teacache or TeaCache(), **values)
    check_range(teacache.threshold, 0, MAX_TEACACHE_THRESHOLD, f"{field}.threshold")
    if "warm_up" in stated:
        check_range(teacache.warm_up, 1, settings.steps, f"{field}.warm_up")
    if variant == "preview":
        # Upstream's preview counts as EXACT_BRANCHES does.
        teacache = replace(teacache, policy="per_branch")
    return _within(teacache, settings.steps)


def _within(teacache: TeaCache | None, steps: int) -> TeaCache | None:
    """Returns a warm-up that is no longer than the steps."""
    return teacache and replace(teacache, warm_up=min(teacache.warm_up, steps))
