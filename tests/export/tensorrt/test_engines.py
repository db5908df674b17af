"""Real TensorRT engines, built ahead of time on a CPU with TensorRT-RTX."""

import json
import shutil
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.repository.model_config import ENGINE_FILE, MODEL_FILE
from export.tensorrt import engines as module
from export.tensorrt.engines import FACTS, EngineError, Target, build_engines
from export.tensorrt.profiles import Profile, Range, Workload, profiles
from server.manifest import CHECKPOINT_PARAMETER, FILE, read_manifest
from server.triton.contract import DENOISER, NETWORKS, Network, Variant
from tests.support.paths import TINY_REPOSITORY as REPOSITORY

pytestmark = pytest.mark.slow

STREAMS = 2
FLASH = Workload("flash", [(128, 128)], [33, 17, 5], STREAMS)
PROFILES = dict.fromkeys(["audio_encoder", "image_encoder", "text_encoder", "time_modulation"], 1)
"""Of the networks that windows make no difference to."""
WIDTHS = {"text_width": 64, "image_width": 48, "audio_width": 32, "denoiser_width": 96}
DETECTOR_LENGTHS = {"detector_height", "detector_width"}


def quiet(stage: str, *, result: bool = False) -> None:
    """A report that nobody reads."""


@pytest.mark.parametrize(
    ("compute_capability", "names"),
    [("8.9", list(NETWORKS["flash"])), ("12.0", ["denoiser", "vae_decoder"])],
)
def test_every_network_becomes_an_engine(
    tmp_path: Path, compute_capability: str, names: list[str]
) -> None:
    target = Target(compute_capability)
    built = build_engines(REPOSITORY, tmp_path, FLASH, target, names, quiet)
    assert [engine.network for engine in built] == sorted(names, key=_order)
    for engine in built:
        version = tmp_path / engine.network / "1"
        assert (version / ENGINE_FILE).stat().st_size == engine.engine_bytes > 100_000
        assert engine.layers > 10
        config = model_config_pb2.ModelConfig()  # pyright: ignore[reportAttributeAccessIssue]
        text_format.Parse((version.parent / "config.pbtxt").read_text(), config)
        assert config.backend == "tensorrt"
        assert config.default_model_filename == ENGINE_FILE
        # What NVIDIA's Triton compares with the engine before it loads it.
        assert config.max_batch_size == engine.max_batch_size
        (group,) = config.instance_group
        assert list(group.profile) == [str(index) for index in range(engine.profiles)]
        merged = 50 if engine.network == "time_modulation" else STREAMS
        assert engine.max_batch_size == merged
        assert engine.profiles == PROFILES.get(engine.network, len(FLASH.windows))
        named = config.parameters[CHECKPOINT_PARAMETER].string_value
        assert named == read_manifest(REPOSITORY).checkpoint_digest
    # Triton's TensorRT cannot load engines of TensorRT-RTX, so nobody is to serve them.
    assert not (tmp_path / FILE).exists()


def _order(name: str) -> int:
    manifest = json.loads((REPOSITORY / FILE).read_text())
    return list(manifest["networks"]).index(name)


def test_a_build_goes_on_where_it_stopped(tmp_path: Path) -> None:
    names = ["time_modulation", "denoiser_cached"]

    def interrupt(stage: str, *, result: bool = False) -> None:
        if stage == "denoiser_cached: building":
            raise KeyboardInterrupt

    def build(report: module.Report, target: Target) -> int:
        build_engines(REPOSITORY, tmp_path, FLASH, target, names, report)
        return (tmp_path / "time_modulation" / "1" / FACTS).stat().st_mtime_ns

    with pytest.raises(KeyboardInterrupt):
        build(interrupt, Target("8.9"))
    assert not (tmp_path / "denoiser_cached").exists()
    first = (tmp_path / "time_modulation" / "1" / FACTS).stat().st_mtime_ns
    config = tmp_path / "time_modulation" / "config.pbtxt"
    written = config.read_text()
    # As an older version wrote it: without the checkpoint's digest.
    config.write_text("")
    assert build(quiet, Target("8.9")) == first
    assert config.read_text() == written
    assert (tmp_path / "denoiser_cached" / "1" / ENGINE_FILE).exists()
    assert build(quiet, Target("8.6")) > first


def test_a_graph_that_tensorrt_does_not_take_is_one_line(tmp_path: Path) -> None:
    repository = Path(shutil.copytree(REPOSITORY, tmp_path / "onnx"))
    source = repository / "time_modulation" / "1" / MODEL_FILE
    # Another name of the operator, of the same length.
    source.write_bytes(source.read_bytes().replace(b"Sigmoid", b"Sigmojd"))
    with pytest.raises(EngineError) as caught:
        build_engines(repository, tmp_path, FLASH, Target("8.9"), ["time_modulation"], quiet)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_tensorrt_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.tensorrt.engines.find_tensorrt", lambda: None)
    with pytest.raises(EngineError, match="pip install"):
        build_engines(REPOSITORY, tmp_path, FLASH, Target("8.9"), ["denoiser"], quiet)


@pytest.mark.parametrize("variant", NETWORKS)
def test_some_profile_holds_whatever_is_asked(variant: Variant) -> None:
    sizes, windows = [(512, 512), (256, 256), (768, 512), (512, 768)], [33, 17, 81]
    workload = Workload(variant, sizes, windows, STREAMS)
    for network in NETWORKS[variant].values():
        found = [_ranges(network, one) for one in profiles(network, workload, WIDTHS)]
        assert len(found) == len({repr(ranges) for ranges in found})
        # The last window of an utterance may have any length from the shortest to the longest.
        for size, frames, known in product(sizes, range(17, 82, 4), (1, 5, 8)):
            lengths = {"batch": STREAMS, **_asked(variant, network, size, frames, known)}
            assert any(_holds(ranges, lengths) for ranges in found), (network.name, lengths)


def test_the_usual_size_and_window_come_first_with_kernels_of_their_own() -> None:
    workload = Workload("flash", [(512, 512), (256, 256)], [33, 17, 81])
    found = [_ranges(DENOISER, one) for one in profiles(DENOISER, workload, WIDTHS)]
    assert [(r["latent_height"].usual, r["latent_frames"].usual) for r in found] == [
        *((64, frames) for frames in (9, 5, 21)),
        *((32, frames) for frames in (9, 5, 21)),
    ]
    for ranges in found:
        assert ranges["latent_height"].low == ranges["latent_height"].high
    assert [(r["latent_frames"].low, r["latent_frames"].high) for r in found[:3]] == [
        (6, 9),
        (5, 5),
        (10, 21),
    ]


def _holds(ranges: Mapping[str, Range], lengths: Mapping[str, int]) -> bool:
    return all(
        ranges[name].low <= lengths[name] <= ranges[name].high
        for name in ranges.keys() - WIDTHS.keys() - DETECTOR_LENGTHS
    )


def _ranges(network: Network, shapes: Profile) -> dict[str, Range]:
    found: dict[str, Range] = {}
    for tensor in network.inputs:
        for axis, dim in enumerate(("batch", *tensor.dims)):
            if isinstance(dim, str):
                found[dim] = Range(*(shape[axis] for shape in shapes[tensor.name]))
    return found


def _asked(
    variant: Variant, network: Network, size: tuple[int, int], frames: int, known: int
) -> dict[str, int]:
    width, height = size
    latents = (frames - 1) // 4 + 1
    return {
        "latent_frames": latents,
        "latent_height": height // 8,
        "latent_width": width // 8,
        "token_rows": height // 16,
        "token_columns": width // 16,
        "tokens": latents * (height // 16) * (width // 16),
        "height": height,
        "width": width,
        "samples": (frames + 55) * 640,
        "audio_tokens": frames * 2,
        "frames": frames,
        "heard_frames": frames + 4,
        "known_frames": known,
        "grey_frames": frames - known,
        "rows": 3 if variant == "preview" else 2,
        "texts": 2,
        "text_tokens": 512 if network.name == "text_encoder" else 128,
    }
