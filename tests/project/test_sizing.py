"""What is counted of networks, and what follows for cards."""

import re

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tests.reports.operations import Operations, Work, count, public_work
from tests.reports.roofline import (
    UNGUIDED,
    Card,
    Service,
    executions,
    floor_s,
    roofline,
    streams,
    whole,
)
from tests.reports.sizing import CARDS, SIDES, main, of_public_sizes

CARD = Card("card", fp32=1e12, fp16=2e12, fp8=4e12, bandwidth=1e9)
PUBLISHED_TFLOP = {256: 118, 512: 646, 768: 2152}
"""Of 8 steps with guidance, by arithmetic on the layers' sizes, without audio and CLIP."""


class Small(nn.Module):
    """A layer, a convolution, attention."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(8, 16)
        self.conv = nn.Conv1d(16, 4, kernel_size=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.linear(x)
        seen = scaled_dot_product_attention(*3 * (tokens[:, None],))
        return self.conv(seen[:, 0].transpose(1, 2))


def test_a_small_graph_counts_as_by_hand() -> None:
    found, carried = count(Small(), [torch.randn(2, 10, 8)])
    assert found == Operations(
        matrices=2 * 2 * 10 * 8 * 16,
        # Scores of each token with each, and their sums of values.
        attention=2 * 2 * 2 * 10 * 10 * 16,
        convolutions=2 * 2 * 8 * 16 * 4 * 3,
    )
    assert carried == 4 * (2 * 10 * 8 + 2 * 4 * 8)


@pytest.mark.parametrize("side", SIDES)
def test_the_denoiser_at_public_widths_counts_as_its_layers_tell(side: int) -> None:
    work = of_public_sizes("denoiser", Service((side, side)))
    assert 8 * work.operations.total / 1e12 == pytest.approx(PUBLISHED_TFLOP[side], rel=0.02)


def test_a_step_without_guidance_is_half_of_one_with() -> None:
    with_guidance, without = (
        of_public_sizes(name, Service((256, 256))) for name in ("denoiser", UNGUIDED)
    )
    ratio = without.operations.total / with_guidance.operations.total
    assert ratio == pytest.approx(0.5, rel=0.03)


def test_a_light_decoder_is_a_sixteenth() -> None:
    wide, light = (
        public_work("vae_decoder", (256, 256), 33, 2, "fp16", light) for light in (False, True)
    )
    ratio = light.operations.total / wide.operations.total
    assert ratio == pytest.approx(1 / 16, rel=0.02)
    assert light.bytes < wide.bytes


def test_a_window_runs_what_its_options_say() -> None:
    usual = Service((256, 256))
    once = {"audio_encoder": 1, "vae_encoder": 1, "vae_decoder": 1}
    assert executions(usual) == once | {"denoiser": 8}
    halved = Service((256, 256), skip_ratio=0.5)
    assert executions(halved) == once | {"denoiser": 4, UNGUIDED: 4}
    cached = Service((256, 256), skip_ratio=0.5, cached_steps=5)
    assert executions(cached) == once | {
        "denoiser": 3,
        "time_modulation": 8,
        "denoiser_cached": 5,
    }


def test_the_floor_is_what_takes_longer() -> None:
    operations = Operations(matrices=8 * 10**12, attention=2 * 10**12, convolutions=0)
    assert floor_s(Work(operations, 0, "fp32"), CARD) == 10
    assert floor_s(Work(operations, 0, "fp16"), CARD) == 5
    assert floor_s(Work(operations, 0, "fp8"), CARD) == 2 + 1
    assert floor_s(Work(operations, 20 * 10**9, "fp16"), CARD) == 20


def test_measured_figures_take_the_place_of_expected_ones() -> None:
    each = Work(Operations(2 * 10**12, 0, 0), 0, "fp16")
    lines = roofline(Service((256, 256)), CARD, lambda *_: each, 0.5, {"denoiser": 0.125})
    by_name = {line.network: line for line in lines}
    assert [by_name["vae_decoder"].floor_s, by_name["vae_decoder"].expected_s] == [1, 2]
    assert [by_name["denoiser"].floor_s, by_name["denoiser"].expected_s] == [8, 1]
    assert by_name["denoiser"].is_measured
    assert not by_name["vae_decoder"].is_measured


def test_a_stream_needs_its_windows_in_time() -> None:
    found = streams(Service((256, 256)), seconds=0.5)
    assert found == pytest.approx(2.24)
    assert whole(found) == 2


def run(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setattr("sys.argv", ["sizing", *words.split()])
    main()


def test_the_calculator_prints_streams_and_assumptions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--card rtx4090 --size 256x256 --steps 4 --measured-ms denoiser=50")
    said = capsys.readouterr().out
    assert CARDS["rtx4090"].name in said
    assert re.search(r"\| denoiser \| 4 \| .* \| 200.0 \| measured \|", said)
    assert re.search(r"\d+ streams at most .*, \d+ expected", said)
    assert "data sheets" in said


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--size 250x256", "--size"),
        ("--window 30", "--window is 30"),
        ("--overlap 33", "--overlap is no part"),
        ("--steps 4 --cached-steps 4", "--cached-steps leaves none"),
        ("--guidance-skip-ratio 2", "--guidance-skip-ratio"),
        ("--share 0", "--share is not above 0"),
        ("--measured-ms unet=3", "--measured-ms"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, problem: str
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, f"--card h100 {words}")
    assert problem in capsys.readouterr().err
