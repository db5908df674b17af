"""What `make perf` asks perf_analyzer for, and what it makes of the answers; and that it runs."""

import csv
import itertools
import sys
from pathlib import Path

import pytest

from client.demo.media import PORTRAIT
from server.manifest import read_manifest
from server.triton.contract import NETWORKS
from tests.perf import FOLDER, Load, clip_command, clip_summary, command, summary
from tests.support import perf_analyzer
from tests.support.gateway_process import TRITON_VENV, gateway
from tests.support.paths import ROOT, TINY_REPOSITORY
from tests.support.perf_analyzer import PerfAnalyzerMissingError
from tests.support.triton_queue import read_config

DEMO = ROOT / "export" / "demo" / "model_repository"
REPORT = {
    "Inferences/Second": "399.578",
    "Client Send": "3",
    "Network+Server Send/Recv": "443",
    "Server Queue": "316",
    "Server Compute Input": "18",
    "Server Compute Infer": "426",
    "Server Compute Output": "281",
    "Client Recv": "13",
    "p50 latency": "1283",
    "p99 latency": "5262",
}


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("vae_encoder", {"known:5,128,128,3", "grey:28"}),
        ("text_encoder", {"token_ids:512", "mask:512"}),
        ("denoiser_cached", {"residual:2,576,128"}),
        ("denoiser", {"latents:16,9,16,16", "text:64,64", "audio:37,12,48", "audio_gain:2"}),
    ],
)
def test_a_network_is_asked_for_a_window(name: str, shapes: set[str]) -> None:
    config = read_config((DEMO / name / "config.pbtxt").read_text())
    load = Load(clients=3, requests=50, frames=33)
    words = command(NETWORKS["flash"][name], config, read_manifest(DEMO), load)
    given = [after for word, after in itertools.pairwise(words) if word == "--shape"]
    assert shapes <= set(given)
    assert len(given) == len(NETWORKS["flash"][name].inputs)
    assert words[words.index("-b") + 1] == "1"
    assert words[words.index("--concurrency-range") + 1] == "3"


def test_throughput_follows_from_the_mean_latency() -> None:
    # 1.5 ms each, from two clients.
    assert summary(REPORT, clients=2) == ["1333.3", "1.3", "5.3", "0.3", "0.7"]


def test_clips_are_told_by_their_first_frames() -> None:
    report = REPORT | {"Concurrency": "2", "Response Throughput": "31.028"}
    assert clip_summary(report) == ["2", "31.0", "1", "5"]


@pytest.mark.slow
@pytest.mark.skipif(
    not (TINY_REPOSITORY / "manifest.json").exists() or not (TRITON_VENV / "bin").exists(),
    reason="no models or no Triton; `make test` makes and installs them",
)
def test_the_real_one_measures_the_gateway(tmp_path: Path) -> None:
    try:
        program = perf_analyzer.find(FOLDER / "perf_analyzer", TRITON_VENV)
    except PerfAnalyzerMissingError as error:
        pytest.skip(str(error))
    report = tmp_path / "report.csv"
    with gateway(tmp_path, "--default-portrait", str(PORTRAIT)) as running:
        words = clip_command(clients=2, clips=4)
        finished = program.run(*words, "-u", running.address, "-f", str(report))
    assert finished.returncode == 0, finished.stdout + finished.stderr
    with report.open(newline="") as file:
        (measured,) = csv.DictReader(file)
    assert float(measured["Response Throughput"]) > 0
    log = running.log.read_text()
    assert log.count("frames=25") >= 4
    assert "speech fails" not in log


def test_a_perf_analyzer_on_the_path_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "perf_analyzer"
    program.write_text("#!/bin/sh\necho $1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = perf_analyzer.find(tmp_path / "kept", tmp_path / "venv")
    assert found.run("--version").stdout == "--version\n"
    assert not (tmp_path / "kept").exists()


def test_what_cannot_be_fetched_is_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(perf_analyzer, "_is_installed", lambda library: True)
    pip = tmp_path / "python"
    pip.write_text("#!/bin/sh\necho 'no such host' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(PerfAnalyzerMissingError, match=r"pip download .*` failed: no such host"):
        perf_analyzer.find(tmp_path / "kept", tmp_path / "venv")
