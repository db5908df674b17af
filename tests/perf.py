"""What one execution of each network costs, and seconds of speech, by perf_analyzer.

python -m tests.perf REPOSITORY [--clients N] [--requests N] [--clips N] [--url HOST:PORT]

Networks are asked for in the shapes of a window. Triton is started for it on free ports, unless a
running one is named that serves the repository.
"""

import argparse
import asyncio
import csv
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.demo.gateway_process import GatewayError, running_gateway
from client.demo.media import PORTRAIT
from server.manifest import Manifest, ManifestError, read_manifest
from server.triton.contract import SERVED, Network
from server.triton.errors import TritonStartError
from server.triton.installation import TritonInstallation
from server.triton.process import start_triton
from tests.reports.markdown import table
from tests.support import perf_analyzer
from tests.support.perf_analyzer import PerfAnalyzer, PerfAnalyzerMissingError
from tests.support.triton_queue import read_config, window_shapes

FOLDER = Path("build/perf")
# Columns of perf_analyzer's report, in microseconds, which add up to the mean latency.
COMPUTE = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
QUEUE = "Server Queue"
OUTSIDE = ("Client Send", "Network+Server Send/Recv", "Client Recv")
HEADER = ("network", "requests/s", "p50 ms", "p99 ms", "queue ms", "compute ms")
CLIP_SAMPLES = 16_000
CLIP_HEADER = ("clients", "frames/s", "first frame p50 ms", "p99 ms")


class PerfError(Exception):
    """A network could not be measured; the text is one line."""


@dataclass(frozen=True)
class Load:
    """What is asked for: so many requests from so many clients, as windows of so many frames."""

    clients: int
    requests: int
    frames: int


def command(network: Network, config: Any, manifest: Manifest, load: Load) -> list[str]:
    """Returns perf_analyzer's words for a network: one request of a stream's usual window."""
    shapes = window_shapes(network, config, manifest.variant, manifest.sizes[0], load.frames)
    given = [f"{name}:{','.join(map(str, shape))}" for name, shape in shapes.items()]
    return [
        *("-m", network.name, "-b", "1"),
        *("-i", "grpc", "--input-data", "zero"),
        *(word for shape in given for word in ("--shape", shape)),
        *("--concurrency-range", str(load.clients), "--request-count", str(load.requests)),
    ]


def summary(report: Mapping[str, str], clients: int) -> list[str]:
    """Returns the figures of a row of the table, from a row of perf_analyzer's report."""

    def ms(*columns: str) -> float:
        return sum(float(report[column]) for column in columns) / 1e3

    # Each client waits for its answer before it asks again. perf_analyzer's own throughput counts
    # the time in which it no longer asks.
    mean_ms = ms(*OUTSIDE, QUEUE, *COMPUTE)
    return [
        f"{1e3 * clients / mean_ms:.1f}",
        *(f"{ms(column):.1f}" for column in ("p50 latency", "p99 latency", QUEUE)),
        f"{ms(*COMPUTE):.1f}",
    ]


def clip_command(clients: int, clips: int) -> list[str]:
    """Returns perf_analyzer's words for seconds of noise, each animated by a gateway."""
    return [
        *("-m", "avatar", "-i", "grpc", "--streaming", "--shape", f"audio:{CLIP_SAMPLES}"),
        *("--concurrency-range", str(clients), "--request-count", str(clips)),
    ]


def clip_summary(report: Mapping[str, str]) -> list[str]:
    """Returns the figures of clips; a decoupled model's latency is that of its first answer."""
    latencies = (float(report[f"{of} latency"]) / 1e3 for of in ("p50", "p99"))
    frames_s = float(report["Response Throughput"])
    return [report["Concurrency"], f"{frames_s:.1f}", *(f"{ms:.0f}" for ms in latencies)]


def measure(
    program: PerfAnalyzer, url: str, repository: Path, manifest: Manifest, load: Load
) -> list[list[str]]:
    """Returns the rows of the table.

    Raises:
        PerfError: perf_analyzer failed.
    """
    found: list[list[str]] = []
    for name in manifest.networks:
        network = SERVED[manifest.variant][name]
        print(f"measuring {name}", file=sys.stderr)
        config = read_config((repository / name / "config.pbtxt").read_text())
        measured = reported(program, url, name, command(network, config, manifest, load))
        found.append([name, *summary(measured, load.clients)])
    return found


def measure_clips(
    program: PerfAnalyzer, triton_url: str, options: argparse.Namespace
) -> list[list[str]]:
    """Returns the rows of the table of clips, made by a gateway before a Triton.

    Raises:
        GatewayError: it did not start.
        PerfError: perf_analyzer failed.
    """
    words = ("--triton-url", triton_url, "--default-portrait", str(PORTRAIT))
    log = FOLDER / "gateway.log"
    clients, clips = options.clients, options.clips
    with running_gateway(options.repository, options.triton_venv, log, *words) as url:
        print("measuring avatar", file=sys.stderr)
        return [clip_summary(reported(program, url, "avatar", clip_command(clients, clips)))]


def reported(program: PerfAnalyzer, url: str, name: str, words: list[str]) -> dict[str, str]:
    """Runs perf_analyzer and returns the row of its report.

    Raises:
        PerfError: it failed.
    """
    report = FOLDER / f"{name}.csv"
    finished = program.run(*words, "-u", url, "-f", str(report))
    if finished.returncode:
        last = (finished.stderr.strip() or finished.stdout.strip()).splitlines()[-1:]
        raise PerfError(f"{name}: {' '.join(last)}")
    with report.open(newline="") as file:
        (measured,) = csv.DictReader(file)
    report.unlink()
    return measured


@asynccontextmanager
async def serving(repository: Path, triton_venv: Path, url: str) -> AsyncGenerator[str]:
    """Gives the gRPC address of a Triton with every model loaded: the one named, or a new one."""
    if url:
        yield url
        return
    installation = await asyncio.to_thread(TritonInstallation.find, triton_venv)
    async with start_triton(
        installation, repository, runtime_dir=FOLDER, log_path=FOLDER / "triton.log"
    ) as triton:
        yield triton.grpc_url


async def run(options: argparse.Namespace) -> str:
    """Returns the tables."""
    manifest = read_manifest(options.repository)
    load = Load(options.clients, options.requests, options.frames)
    program = perf_analyzer.find(FOLDER / "perf_analyzer", options.triton_venv)
    async with serving(options.repository, options.triton_venv, options.url) as url:
        found = await asyncio.to_thread(measure, program, url, options.repository, manifest, load)
        clips = await asyncio.to_thread(measure_clips, program, url, options)
    return f"{table(HEADER, found)}\n\n{table(CLIP_HEADER, clips)}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--clients", type=int, default=1, help="requests at the same time")
    parser.add_argument("--requests", type=int, default=50, help="requests for each network")
    parser.add_argument("--clips", type=int, default=10, help="seconds of speech for the gateway")
    parser.add_argument("--frames", type=int, default=33, help="of the window")
    parser.add_argument("--triton-venv", type=Path, default=Path(".venv/triton"))
    parser.add_argument("--url", default="", help="gRPC of a Triton that runs already")
    try:
        print(asyncio.run(run(parser.parse_args())))
    except (
        GatewayError,
        ManifestError,
        PerfAnalyzerMissingError,
        PerfError,
        TritonStartError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
