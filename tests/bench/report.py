"""The report of what was measured, made of its JSON alone."""

from collections.abc import Iterator, Mapping, Sequence

from server.audio.clock import FRAME_RATE
from tests.bench.goals import DISTURBED, goals_table
from tests.bench.hollow import CARRIERS, FRAMES, FRESH, WARM_UP
from tests.bench.load import continuous_share, frames_per_s, intervals_s, unfairness
from tests.bench.reading import (
    Found,
    by_load,
    by_setting,
    by_way,
    firsts_s,
    jpeg_costs,
    mean,
    traces_of,
)
from tests.bench.spread import Verdict, compare, joined, median, percentile
from tests.reports.markdown import table

DEFINITIONS = f"""## Definitions

- A frame is *made* when its window has been decoded and stitched, *encoded* when it is a JPEG, and
  *received* when the client has its message. Windows end when they are made; everything about
  streams counts frames that were received.
- Percentiles are nearest-rank: one of the values. Nothing is left out as an outlier; the slowest
  ones are named.
- Comparisons run there and back again (A B B A). Where the medians of two runs of the same thing
  differ as much as the two things do, the verdict is *inconclusive*.
- Where other programs took more than {DISTURBED:.0%} of the cores meanwhile, or it was not counted
  (the last table), what is said of a time is *inconclusive* too.
- A lost stream, refused or failed, stays in every denominator: what it does not show counts as time
  standing still.
- *Saturating* streams send all their speech at once, *paced* ones as it is spoken; *open* ones are
  paced and begin at random moments (Poisson) whatever has become of those before. No figure mixes
  them.
- *Continuous play* is the share of the time for which players show the next frame when it is due.
  They start when the server advises and wait for every frame that is late.
- Warm-up: the first {WARM_UP} windows of a hollow run, one stream before all others, one of a
  second for each way of the baseline.

Not measured: a GPU, a network between client and gateway, real weights. The client, the gateway and
Triton share the cores of one machine."""

HOLLOW = f"""## Hollow networks: what the server takes itself

`python -m tests.bench hollow`, [hollow.json](hollow.json). Networks of the public widths that
compute nothing (`python -m export make-hollow`), in 16 bits, in a real Triton; a gateway, 8 guided
steps, windows of {FRAMES} frames that show {FRESH} new ones, {{seconds:.2f}} s of video; all of the
speech is there. *A window* lasts from the end of the one before to its own; while it is made, the
JPEGs of the one before are encoded and sent, which is in it. *Outside* is that without what Triton
says its networks took: they write zeros, on the same cores. It is what goes by in *the gateway*
between executions, in *carrying* tensors to Triton and back, with their casts to 16 bits, and in
*Triton*'s queue and its copies. Seconds; the median of {{count}} windows, the least and the most;
the parts are means.

![every window](hollow.svg)"""

STREAMS = """## Streams: the demo's models

`python -m tests.bench streams`, [streams.json](streams.json). The gateway with its defaults and the
models that ship, 128x128; client, gateway and Triton on these cores. Streams that begin together
have {total_s:g} s of speech, all of them, or {least_s:g} s each if that is more."""

BASELINE = """## Plain PyTorch

`python -m tests.bench baseline`, [baseline.json](baseline.json). The same weights, size, steps and
windows of {frames} frames. PyTorch eager as the authors run it: two calls of the denoiser a step,
the library's VAE, over the whole video and chunk by chunk, prompt and portrait encoded again for
every window; without JPEG, gRPC or a client, which the server's figures hold. `teacache` is the
server with a skipping that a user may choose (threshold 0.1, warm-up 3). {speech_s:g} s of speech a
run, all of it there from the beginning.

![frames a second of each run](baseline.svg)"""


def page(found: Mapping[str, Found]) -> str:
    """Returns the report on the parts that there are."""
    parts = [
        "# Benchmark",
        "Made by `make bench`; do not edit.",
        DEFINITIONS,
        "## Goals",
        goals_table(found),
        *(text for name, write in PARTS.items() if name in found for text in write(found[name])),
        "## Where it was measured",
        machine_table(found),
    ]
    return "\n\n".join(parts) + "\n"


def hollow(found: Found) -> Iterator[str]:
    runs = by_setting(found["runs"])
    count = found["plan"]["windows"] * len(found["plan"]["order"]) // len(CARRIERS)
    yield HOLLOW.format(seconds=FRESH / FRAME_RATE, count=count)
    header = ("size", "carrier", "a window", "outside", "gateway", "carrying", "Triton", "networks")
    yield table(header, [_window_row(*setting, of) for setting, of in runs.items()])
    yield _carriers(runs)
    yield "Slowest windows: " + "; ".join(_slowest(*setting, of) for setting, of in runs.items())
    yield (
        "Bytes: of messages and in shared memory, a window and an execution of the denoiser, of "
        "which a window has 8. Constants of a window lie in shared memory once."
    )
    header = ("size", "carrier", "messages, MB a window", "shared, MB a window", "MB a step")
    yield table(header, [_bytes_row(*setting, of[0]) for setting, of in runs.items()])
    yield (
        "CPU milliseconds a frame: of the gateway with everything it does, and of one JPEG encoded "
        "alone. The pictures of hollow networks are black, and quicker to encode than others; "
        "*real pictures* is what it would be if they were the demo's portrait."
    )
    header = ("size", "carrier", "gateway", "one JPEG", "times that", "real pictures, times that")
    yield table(header, [_cpu_row(*setting, of) for setting, of in runs.items()])


def _window_row(side: int, use: str, runs: Sequence[Found]) -> Sequence[str]:
    windows_s = joined([run["windows_s"] for run in runs])
    executions_s, triton_s, computed_s = (
        mean(runs, name) for name in ("executions_s", "triton_s", "computed_s")
    )
    wall_s = sum(windows_s) / len(windows_s)
    return (
        f"{side}x{side}",
        CARRIERS[use],
        f"{median(windows_s):.3f} ({min(windows_s):.3f} to {max(windows_s):.3f})",
        f"{median(windows_s) - computed_s:.3f}",
        *(
            f"{seconds:.3f}"
            for seconds in (
                wall_s - executions_s,
                executions_s - triton_s,
                triton_s - computed_s,
                computed_s,
            )
        ),
    )


def _carriers(runs: Mapping[tuple[int, str], Sequence[Found]]) -> str:
    verdicts: list[str] = []
    for side in dict.fromkeys(side for side, _ in runs):
        shared, sent = ([run["windows_s"] for run in runs[side, use]] for use in CARRIERS)
        verdicts.append(f"{side}x{side}: {compare(shared, sent).value}")
    return f"By shared memory a window takes, against gRPC: {', '.join(verdicts)}."


def _slowest(side: int, use: str, runs: Sequence[Found]) -> str:
    seconds, number, window = max(
        (seconds, number, window)
        for number, run in enumerate(runs, 1)
        for window, seconds in enumerate(run["windows_s"], 1)
    )
    return f"{side}x{side}, {CARRIERS[use]}: the {window}. of run {number}, {seconds:.3f} s"


def _bytes_row(side: int, use: str, run: Found) -> Sequence[str]:
    totals = (sum(run["message_bytes"].values()), sum(run["shared_bytes"].values()))
    megabytes = (f"{count / 1e6:.1f}" for count in (*totals, run["step_bytes"]))
    return f"{side}x{side}", CARRIERS[use], *megabytes


def _cpu_row(side: int, use: str, runs: Sequence[Found]) -> Sequence[str]:
    frame_s, black_s, real_s = jpeg_costs(runs)
    return (
        f"{side}x{side}",
        CARRIERS[use],
        f"{1e3 * frame_s:.1f}",
        f"{1e3 * black_s:.2f}",
        f"{frame_s / black_s:.1f}",
        f"{(frame_s - black_s + real_s) / real_s:.1f}",
    )


def streams(found: Found) -> Iterator[str]:
    yield STREAMS.format(**found["plan"])
    yield "### Saturating"
    yield (
        "Frames a second of all streams together, run by run; seconds to the first frame; *last / "
        "mean* is when the last of equal streams finished over when they did on average."
    )
    header = (
        "streams",
        "frames/s",
        "x real time",
        "first frame p50",
        "most",
        "last / mean",
        "lost",
    )
    yield table(header, [_saturating(*group) for group in by_load(found["runs"], "saturating")])
    yield "### Paced"
    yield (
        "Seconds, but for interruptions: milliseconds from a client's saying so to the answer, in "
        "the midst of a second utterance."
    )
    header = (
        *("streams", "continuous play", "first frame p50", "p95"),
        *("interval p50", "p95", "p99", "interrupt p50", "most", "lost"),
    )
    yield table(header, [_paced(*group) for group in by_load(found["runs"], "paced")])
    yield "![intervals between frames](streams.svg)"
    yield "### Open"
    yield (
        f"Streams of {found['plan']['open_speech_s']:g} s of speech each that begin at random for "
        f"{found['plan']['open_s']:g} s."
    )
    header = ("begun a second", "streams", "continuous play", "first frame p50", "p95", "lost")
    yield table(header, [_open(*group) for group in by_load(found["runs"], "open")])
    starts = ", ".join(f"{seconds:.1f}" for seconds in found["starts_s"])
    yield f"From starting a gateway with a Triton of its own to its serving: {starts} s."
    idle = found["idle"]
    yield (
        f"{idle['streams']} open streams that say nothing: {idle['bytes'] / 1e6:.0f} MB more in "
        f"the gateway, {idle['cores']:.1%} of a core."
    )


def _saturating(load: float, runs: Sequence[Found]) -> Sequence[str]:
    rates = [frames_per_s(traces_of(run)) for run in runs]
    shares = [unfairness(traces_of(run)) for run in runs]
    firsts = firsts_s(runs)
    return (
        f"{load:g}",
        ", ".join(f"{rate:.1f}" for rate in rates),
        ", ".join(f"{rate / FRAME_RATE:.2f}" for rate in rates),
        f"{median(firsts):.2f}",
        f"{max(firsts):.2f}",
        ", ".join("lost" if share is None else f"{share:.2f}" for share in shares),
        _lost(runs),
    )


def _paced(load: float, runs: Sequence[Found]) -> Sequence[str]:
    traces = [trace for run in runs for trace in traces_of(run)]
    intervals = [interval for trace in traces for interval in intervals_s(trace)]
    interrupts = [seconds for trace in traces for seconds in trace.interrupts_s]
    firsts = firsts_s(runs)
    return (
        f"{load:g}",
        f"{continuous_share(traces):.1%}",
        f"{median(firsts):.2f}",
        f"{percentile(firsts, 95):.2f}",
        *(f"{percentile(intervals, rank):.3f}" for rank in (50, 95, 99)),
        f"{1e3 * median(interrupts):.1f}",
        f"{1e3 * max(interrupts):.1f}",
        _lost(runs),
    )


def _open(load: float, runs: Sequence[Found]) -> Sequence[str]:
    traces = [trace for run in runs for trace in traces_of(run)]
    firsts = firsts_s(runs)
    return (
        f"{load:g}",
        f"{len(traces)}",
        f"{continuous_share(traces):.1%}",
        f"{median(firsts):.2f}",
        f"{percentile(firsts, 95):.2f}",
        _lost(runs),
    )


def baseline(found: Found) -> Iterator[str]:
    yield BASELINE.format(frames=FRAMES, **found["plan"])
    ways = by_way(found["runs"])
    plain = ways["pytorch"]
    rows: list[Sequence[str]] = []
    for way, runs in ways.items():
        rates = [1 / seconds for (seconds,) in runs]
        times = median(joined(plain)) / median(joined(runs))
        verdict = "" if way == "pytorch" else _faster(compare(runs, plain))
        rows.append((way, ", ".join(f"{rate:.1f}" for rate in rates), f"{times:.2f}", verdict))
    yield table(("way", "frames/s, run by run", "x PyTorch", "verdict"), rows)
    spent_s = {
        name: sum(run["networks_s"].get(name, 0) for run in found["runs"])
        for run in found["runs"]
        for name in run["networks_s"]
    }
    total_s = sum(run["wall_s"] for run in found["runs"] if run["way"] == "pytorch")
    shares = (f"{name} {seconds / total_s:.0%}" for name, seconds in spent_s.items())
    yield (
        f"Where PyTorch's time goes: {', '.join(shares)}. On a CPU it computes convolutions over "
        "video in its slow kernel, so much of the difference is ONNX Runtime's in the VAE."
    )


def _faster(verdict: Verdict) -> str:
    """Returns a verdict on seconds in words on speed."""
    return {Verdict.LESS: "faster", Verdict.MORE: "slower"}.get(verdict, verdict.value)


def _others(part: Found) -> str:
    return f"{part['others']:.0%}" if "others" in part else "not counted"


def machine_table(found: Mapping[str, Found]) -> str:
    """Returns what each part was measured on."""
    facts = {name: part["facts"] for name, part in found.items()}
    rows = [
        ("measured", *(each["measured"] for each in facts.values())),
        (
            "commit",
            *(each["commit"][:12] + " and changes" * each["dirty"] for each in facts.values()),
        ),
        ("processor", *(each["processor"] for each in facts.values())),
        ("cores", *(each["cores"] for each in facts.values())),
        ("memory, GiB", *(each["memory_gib"] for each in facts.values())),
        ("load before", *(f"{each['load_before']:.2f}" for each in facts.values())),
        ("of the cores, other programs", *map(_others, found.values())),
        ("Triton", *(each["triton"] for each in facts.values())),
        ("Python", *(each["python"] for each in facts.values())),
        *(
            (package, *(each["versions"][package] for each in facts.values()))
            for package in next(iter(facts.values()))["versions"]
        ),
    ]
    return table(("", *facts), rows)


def _lost(runs: Sequence[Found]) -> str:
    traces = [trace for run in runs for trace in traces_of(run)]
    return f"{sum(bool(trace.lost) for trace in traces)} of {len(traces)}"


PARTS = {"hollow": hollow, "streams": streams, "baseline": baseline}
