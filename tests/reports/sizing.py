"""How many live streams a card could serve, on paper or from figures measured on it.

python -m tests.reports.sizing --card h100 --size 512x512 --steps 8 [--measured-ms denoiser=35 ...]

Without arguments it writes docs/sizing.md, and measures this CPU for it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import onnxruntime
import torch

from export.checkpoint.layout import Checkpoint
from export.networks.catalogue import networks
from export.networks.exportable import Shape
from export.precision.policy import Precision
from tests.reports.markdown import table, write
from tests.reports.operations import Work, count, public_work
from tests.reports.roofline import (
    CARDS,
    UNGUIDED,
    Card,
    Line,
    Service,
    executions,
    roofline,
    streams,
    whole,
)
from tests.support.paths import ROOT

DEMO = ROOT / "export" / "demo"
SHARE = 0.55
SIDES = (256, 512, 768)
OPTIONS: tuple[tuple[str, Service], ...] = (
    ("fp16, 8 steps", Service((0, 0))),
    ("half of the steps without guidance", Service((0, 0), skip_ratio=0.5)),
    ("and TeaCache skips 3", Service((0, 0), skip_ratio=0.5, cached_steps=3)),
    ("fp8, 8 steps", Service((0, 0), precision="fp8")),
    ("fp8, half without guidance", Service((0, 0), precision="fp8", skip_ratio=0.5)),
    (
        "fp8, half without guidance, light decoder",
        Service((0, 0), precision="fp8", skip_ratio=0.5, light=True),
    ),
    ("fp8, 4 steps, light decoder", Service((0, 0), precision="fp8", steps=4, light=True)),
)
"""What an operator may choose, for pictures of any size."""
MATRIX, REPEATS = 2048, 20
"""Rows of the product that stands for the CPU's peak, and runs of which the shortest counts."""
DEMO_SHAPE = Shape(batch=1, frames=9, height=16, width=16)

INTRO = """What the networks of the public flash model compute, counted from their graphs, and what
follows for cards that nobody had at hand: no figure of a GPU here was measured.
`python -m tests.reports.sizing --card h100 --size 512x512 --steps 8` prints the same for any
choice; with `--measured-ms denoiser=35`, milliseconds of one execution on a card of yours, as
`make perf` tells them, it counts with those."""
EXECUTIONS = """For a window of 33 frames. A step of `denoiser` is one with guidance, for both
branches. `image_encoder` runs once a portrait, `text_encoder` once a prompt. MB are weights in 16
bits, in the audio encoder's case in 32, inputs and outputs."""
WINDOWS = """All executions for 1.12 s of video, and in brackets the operations a second that real
time takes."""


def assumptions(share: float) -> list[str]:
    """Returns what the figures rest on, a line each."""
    cards = "; ".join(
        f"{card.name} {card.fp32 / 1e12:g} (TF32), {card.fp16 / 1e12:g} (16 bits), "
        f"{card.fp8 / 1e12:g} (fp8) and {card.bandwidth / 1e12:g} TB/s"
        for card in CARDS.values()
    )
    return [
        f"Peaks are those of NVIDIA's data sheets, dense, in TFLOP/s: {cards}.",
        "A multiplication with its addition is two operations. Counted are matrix products, "
        "attention and convolutions; norms, activations and guidance take time, but next to no "
        "operations.",
        "An execution takes at least what its operations take at the peak, or its bytes at the "
        "full bandwidth: weights, inputs and outputs, and nothing that is kept in between.",
        f"Expected is {share:.0%} of the peak where nothing was measured. 55 % of an H100 in bf16 "
        "is the best that was found published for this network; other cards may do worse.",
        "In fp8 only products with the weights of the denoiser are in 8 bits; attention stays in "
        "16. The audio encoder is in 32.",
        "Executions follow each other, and cards do nothing else: no portrait is encoded, no "
        "prompt, and carrying tensors and the gateway take no time.",
        "A window adds its frames but for the overlap, 28 of 33. The audio encoder hears 56 frames "
        "more. The light decoder is lightvaew2_1, whose pictures are others.",
    ]


def of_public_sizes(name: str, service: Service) -> Work:
    """Returns the work of an execution at the public sizes."""
    rows, network = (1, "denoiser") if name == UNGUIDED else (2, name)
    return public_work(
        network, service.size, service.window, rows, service.precision, service.light
    )


def verdict(service: Service, card: Card, share: float, measured_ms: dict[str, float]) -> str:
    """Returns what a card could do, with all that it rests on."""
    measured_s = {name: ms / 1e3 for name, ms in measured_ms.items()}
    lines = roofline(service, card, of_public_sizes, share, measured_s)
    least, expected = sum(of.floor_s for of in lines), sum(of.expected_s for of in lines)
    at_peak, there = streams(service, least), streams(service, expected)
    return "\n".join(
        [
            table(LINES, map(_row, lines)),
            "",
            f"A window of {service.window_s:.2f} s of video takes {least:.3f} s at the peak of the "
            f"{card.name}, and {expected:.3f} s as expected:",
            f"{whole(at_peak)} streams at most ({at_peak:.2f}), "
            f"{whole(there)} expected ({there:.2f}).",
            "",
            *(f"- {line}" for line in assumptions(share)),
        ]
    )


LINES = ("network", "executions", "TFLOP each", "MB each", "at the peak, ms", "expected, ms", "")


def _row(of: Line) -> list[str]:
    return [
        of.network,
        str(of.times),
        f"{of.work.operations.total / 1e12:.3f}",
        f"{of.work.bytes / 1e6:,.0f}",
        f"{1e3 * of.floor_s:.1f}",
        f"{1e3 * of.expected_s:.1f}",
        "measured" if of.is_measured else "",
    ]


def executions_table() -> str:
    """Returns the operations of one execution, by network and size."""
    rows: list[list[str]] = []
    for name in ("denoiser", UNGUIDED, *executions_of_others()):
        each = [of_public_sizes(name, Service((side, side))) for side in SIDES]
        attention = each[1].operations.attention / each[1].operations.total
        totals = [f"{work.operations.total / 1e12:,.3f}" for work in each]
        rows.append([name, *totals, f"{attention:.0%}", f"{each[1].bytes / 1e6:,.0f}"])
    light = [of_public_sizes("vae_decoder", Service((side, side), light=True)) for side in SIDES]
    totals = [f"{work.operations.total / 1e12:,.3f}" for work in light]
    rows.append(["vae_decoder, light", *totals, "0%", f"{light[1].bytes / 1e6:,.0f}"])
    sizes = [f"{side}x{side}" for side in SIDES]
    return table(["TFLOP", *sizes, "attention at 512x512", "MB at 512x512"], rows)


def executions_of_others() -> list[str]:
    """Returns the networks besides the denoiser."""
    return [*("vae_encoder", "vae_decoder", "audio_encoder"), *("image_encoder", "text_encoder")]


def window_table() -> str:
    """Returns what a window takes by options and size, and what real time asks of a card."""
    rows: list[list[str]] = []
    for name, options in OPTIONS:
        row = [name]
        for side in SIDES:
            service = replace(options, size=(side, side))
            times = executions(service)
            total = sum(
                n * of_public_sizes(of, service).operations.total for of, n in times.items()
            )
            row.append(f"{total / 1e12:,.0f} ({total / service.window_s / 1e12:,.0f})")
        rows.append(row)
    return table(["TFLOP (TFLOP/s)", *(f"{side}x{side}" for side in SIDES)], rows)


def streams_table(card: Card) -> str:
    """Returns how many streams a card serves, by options and size: at the peak, and expected."""
    rows: list[list[str]] = []
    for name, options in OPTIONS:
        row = [name]
        for side in SIDES:
            service = replace(options, size=(side, side))
            lines = roofline(service, card, of_public_sizes, SHARE, {})
            at_peak = streams(service, sum(of.floor_s for of in lines))
            there = streams(service, sum(of.expected_s for of in lines))
            row.append(f"{at_peak:.2f}, {there:.2f}")
        rows.append(row)
    return table([card.name, *(f"{side}x{side}" for side in SIDES)], rows)


def shortest_s(run: Callable[[], object]) -> float:
    """Returns how long something takes; what else a machine does only ever adds to it."""
    return min(_timed(run) for _ in range(REPEATS))


def _timed(run: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    run()
    return time.perf_counter() - began_s


def cpu_peak(threads: int) -> float:
    """Returns the operations a second of a product of large matrices."""
    torch.set_num_threads(threads)
    left, right = torch.randn(2, MATRIX, MATRIX)
    return 2 * MATRIX**3 / shortest_s(lambda: left @ right)


def cpu_rows(threads: int, peak: float) -> Iterator[list[str]]:
    """Yields what each of the demo's networks computes, takes, and reaches of a peak."""
    checkpoint = Checkpoint(DEMO / "checkpoint")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    for name, build in networks(checkpoint).items():
        exportable = build(checkpoint)
        inputs = exportable.inputs(DEMO_SHAPE)
        file = DEMO / "model_repository" / name / "1" / "model.onnx"
        session = onnxruntime.InferenceSession(file, options, ["CPUExecutionProvider"])
        feed = {key: tensor.numpy() for key, tensor in inputs.items()}
        seconds = shortest_s(lambda session=session, feed=feed: session.run(None, feed))
        total = count(exportable.module, inputs.values())[0].total
        rate = total / seconds
        print(f"measured {name}", file=sys.stderr)
        figures = (f"{total / 1e9:.2f}", f"{1e3 * seconds:.1f}", f"{rate / 1e9:.1f}")
        yield [name, *figures, f"{rate / peak:.0%}"]


def write_page(threads: int) -> None:
    """Measures this CPU and writes the page."""
    load, peak = os.getloadavg()[0], cpu_peak(threads)
    cpu = table(("network", "GFLOP", "ms", "GFLOP/s", "of the peak"), list(cpu_rows(threads, peak)))
    write(
        "sizing.md",
        "sizing",
        "Sizing",
        INTRO,
        "## Assumptions",
        "\n".join(f"- {line}" for line in assumptions(SHARE)),
        "## An execution",
        EXECUTIONS,
        executions_table(),
        "## A window",
        WINDOWS,
        window_table(),
        "## Streams",
        f"At the peak, then at {SHARE:.0%} of it; below 1 the card is no faster than speech.",
        *(streams_table(card) for card in CARDS.values()),
        "## This CPU",
        f"The demo's networks on {threads} threads, in fp32: a window of 33 frames of 128x128. "
        f"The peak is that of a product of matrices of {MATRIX} rows, in the same process on the "
        f"same threads: {peak / 1e9:.0f} GFLOP/s. The shortest of {REPEATS} runs each; the "
        f"machine's load was {load:.1f} when they began.",
        cpu,
    )


def _size(words: str) -> tuple[int, int]:
    width, _, height = words.partition("x")
    size = int(width), int(height)
    if any(side <= 0 or side % 16 for side in size):
        raise ValueError
    return size


def _measured(words: str) -> tuple[str, float]:
    name, _, ms = words.partition("=")
    if name not in {UNGUIDED, *executions(Service((0, 0), cached_steps=1))} or float(ms) <= 0:
        raise ValueError
    return name, float(ms)


def _parser() -> argparse.ArgumentParser:
    usual = Service((512, 512))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--card", choices=CARDS)
    parser.add_argument("--size", type=_size, default=usual.size, help="multiples of 16")
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument("--window", type=int, default=usual.window, help="frames, 4k + 1")
    parser.add_argument("--overlap", type=int, default=usual.overlap)
    parser.add_argument("--guidance-skip-ratio", type=float, default=usual.skip_ratio)
    parser.add_argument("--cached-steps", type=int, default=0, help="that TeaCache skips")
    precisions: tuple[Precision, ...] = ("fp16", "fp8")
    parser.add_argument("--precision", choices=precisions, default=usual.precision)
    parser.add_argument("--light-decoder", action="store_true", help="lightvaew2_1")
    parser.add_argument("--share", type=float, default=SHARE, help="of the peak, 0 to 1")
    parser.add_argument(
        "--measured-ms",
        type=_measured,
        action="append",
        default=[],
        metavar="NAME=MS",
        help="one execution on the card; denoiser is a step with guidance",
    )
    parser.add_argument("--threads", type=int, default=2, help="of this CPU, for the page")
    return parser


def main() -> None:
    """Prints what a card could do, or writes the page."""
    parser = _parser()
    asked = parser.parse_args()
    if asked.card is None:
        write_page(asked.threads)
        return
    service = Service(
        size=asked.size,
        window=asked.window,
        overlap=asked.overlap,
        steps=asked.steps,
        skip_ratio=asked.guidance_skip_ratio,
        cached_steps=asked.cached_steps,
        precision=asked.precision,
        light=asked.light_decoder,
    )
    if problem := service.problem or ("--share is not above 0" if asked.share <= 0 else ""):
        parser.error(problem)
    print(verdict(service, CARDS[asked.card], asked.share, dict(asked.measured_ms)))


if __name__ == "__main__":
    main()
