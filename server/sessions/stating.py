"""What a client states of generation, checked by the table of settings; the rest stays as it is."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from server.animation.defaults import SETTINGS, GenerationSettings
from server.animation.teacache import TeaCache
from server.errors import InvalidFieldError
from server.sessions.jobs import Offer

Stated = Mapping[str, Any]
"""Values by the names of settings. ``teacache`` is a mapping, too, by the names of TeaCache. None
stands for a word that the front end does not know."""

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
            values[name] = offer.manifest.styles.get(values[name], values[name])
    settings = replace(settings, **values)
    _check(settings, offer, field)
    if teacache is not None:
        asked = _teacache(teacache, settings.steps, f"{field}.teacache")
        # Upstream's preview counts as EXACT_BRANCHES does.
        policy = asked.policy if variant == "flash" else "per_branch"
        settings = replace(settings, teacache=replace(asked, policy=policy))
    return settings


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
        if setting.range is not None:
            low, high = setting.range
            most = offer.settings.max_steps if name == "steps" else high
            check_range(value, low, most, f"{field}.{name}")


def _check_prompt(text: str, offer: Offer, field: str) -> None:
    limit = offer.settings.max_prompt_bytes
    if len(text.encode()) > limit:
        raise InvalidFieldError(field, f"is longer than {limit} bytes")
    if not offer.offers_prompt(text):
        names = ", ".join(offer.manifest.styles)
        raise InvalidFieldError(field, f"is none of this server's styles; ask for one of {names}")


def _teacache(stated: Stated, steps: int, field: str) -> TeaCache:
    if stated.get("policy", "") is None:
        raise InvalidFieldError(f"{field}.policy", "is unknown; ask for EXACT_BRANCHES or UPSTREAM")
    teacache = TeaCache(**stated)
    check_range(teacache.threshold, 0, MAX_TEACACHE_THRESHOLD, f"{field}.threshold")
    if "warm_up" in stated:
        check_range(teacache.warm_up, 1, steps, f"{field}.warm_up")
    return replace(teacache, warm_up=min(teacache.warm_up, steps))
