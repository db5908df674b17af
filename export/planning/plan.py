"""In which precision each network is exported, and what that takes: told before it begins."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from export.checkpoint.layout import Checkpoint
from export.errors import ExportError
from export.networks.catalogue import networks
from export.networks.vae import AS_PUBLISHED, VaeChoice
from export.planning.costs import PROGRAM_BYTES, export_bytes, seconds
from export.planning.sizes import file_bytes
from export.precision.policy import AS_ASKED, IN_32_BITS, Precision, precision_of

USABLE = 0.9
"""The part of the memory that an export may take: what is expected is roughly so."""
USUAL: tuple[Precision, ...] = ("fp32", "fp16")
CHOICES: Mapping[str, tuple[Precision, ...]] = {
    # umT5 is known to overflow in fp16.
    "text_encoder": ("fp32", "bf16"),
    "denoiser": (*USUAL, "bf16"),
}
"""What is tried, one after the other, where nothing is asked; `USUAL` for networks not listed."""
OPTIONS: Mapping[str, str] = {
    "text_encoder": "--text-precision",
    "image_encoder": "--image-precision",
    "vae_encoder": "--vae-precision",
    "vae_decoder": "--vae-precision",
    "vae_decoder_light": "--vae-precision",
    "denoiser": "--precision",
}


class NotEnoughMemoryError(ExportError):
    """A network cannot be exported in the memory that there is; the text is one line."""


@dataclass(frozen=True, slots=True)
class PlannedNetwork:
    """One network to be exported.

    Attributes:
        network: its name.
        precision: of its large weights.
        file_bytes: of its file; 0 where it only encodes a style bank.
        peak_bytes: the most memory that it takes meanwhile.
        seconds: how long that takes on one thread; None where it was not measured.
    """

    network: str
    precision: Precision
    file_bytes: int
    peak_bytes: int
    seconds: int | None


@dataclass(frozen=True, slots=True)
class Plan:
    """An export that has not begun; ``memory_bytes`` is what there is."""

    networks: Sequence[PlannedNetwork]
    memory_bytes: int

    @property
    def precisions(self) -> dict[str, Precision]:
        """The precision of every network, by name."""
        return {planned.network: planned.precision for planned in self.networks}

    @property
    def largest(self) -> PlannedNetwork:
        """The network that takes the most memory; one at a time is exported."""
        return max(self.networks, key=lambda planned: planned.peak_bytes)

    @property
    def file_bytes(self) -> int:
        """The size of all files."""
        return sum(planned.file_bytes for planned in self.networks)


def make_plan(
    checkpoint: Checkpoint,
    memory_bytes: int,
    *,
    asked: Precision | None = None,
    others: Mapping[str, Precision] = AS_ASKED,
    style_bank: bool = False,
    vae: VaeChoice = AS_PUBLISHED,
) -> Plan:
    """Plans an export by the headers of a checkpoint's files.

    Args:
        checkpoint: what is to be exported.
        memory_bytes: what there is.
        asked: the precision of all networks; None takes for each the widest that fits.
        others: what is asked of single networks instead.
        style_bank: whether umT5 encodes prompts and is left out.
        vae: what is exported of the VAE.

    Raises:
        CheckpointError: the checkpoint cannot be used.
    """
    planned: list[PlannedNetwork] = []
    for name in networks(checkpoint, vae=vae):
        only_encodes = style_bank and name == "text_encoder"
        choices = _choices(name, asked, others)
        ways = (
            _planned(checkpoint, name, each, only_encodes=only_encodes, vae=vae) for each in choices
        )
        planned.append(_first_fitting(ways, memory_bytes))
    return Plan(planned, memory_bytes)


def check_memory(checkpoint: Checkpoint, plan: Plan) -> None:
    """Refuses a plan that does not fit.

    Raises:
        NotEnoughMemoryError: it does not; says what would.
    """
    largest = plan.largest
    if fits(largest, plan.memory_bytes):
        return
    name = largest.network
    ways = [_planned(checkpoint, name, p, only_encodes=False) for p in CHOICES.get(name, USUAL)]
    fitting = [way.precision for way in ways if fits(way, plan.memory_bytes)]
    least = min(largest.peak_bytes, *(way.peak_bytes for way in ways))
    remedy = (
        f"choose {OPTIONS[name]} {fitting[0]}"
        if name in OPTIONS and fitting
        else f"a machine with {math.ceil(least / USABLE / 1e9)} GB is needed"
    )
    raise NotEnoughMemoryError(
        f"{name} in {largest.precision} takes about {largest.peak_bytes / 1e9:.1f} GB of memory to "
        f"export, and {USABLE:.0%} of {plan.memory_bytes / 1e9:.1f} GB can be taken: {remedy}"
    )


def fits(planned: PlannedNetwork, memory_bytes: int) -> bool:
    """Tells whether a network can be exported in so much memory."""
    return planned.peak_bytes <= USABLE * memory_bytes


def _first_fitting(ways: Iterable[PlannedNetwork], memory_bytes: int) -> PlannedNetwork:
    """Returns the first way that fits, or else the last."""
    last: PlannedNetwork | None = None
    for last in ways:
        if fits(last, memory_bytes):
            break
    assert last is not None
    return last


def _choices(
    name: str, asked: Precision | None, others: Mapping[str, Precision]
) -> tuple[Precision, ...]:
    if asked is None and name not in others and name not in IN_32_BITS:
        return CHOICES.get(name, USUAL)
    return (precision_of(name, asked or "fp32", others),)


def _planned(
    checkpoint: Checkpoint,
    name: str,
    precision: Precision,
    *,
    only_encodes: bool,
    vae: VaeChoice = AS_PUBLISHED,
) -> PlannedNetwork:
    file = file_bytes(checkpoint, name, precision, vae)
    if only_encodes:
        return PlannedNetwork(name, precision, 0, PROGRAM_BYTES + file, None)
    wide = file if precision == "fp32" else file_bytes(checkpoint, name, "fp32", vae)
    peak = export_bytes(name, precision, file=file, wide=wide)
    if precision == "fp8":
        # What calibrates it: umT5 in bf16, one network at a time.
        peak = max(peak, PROGRAM_BYTES + file_bytes(checkpoint, "text_encoder", "bf16"))
    return PlannedNetwork(name, precision, file, peak, seconds(name, precision, file))
