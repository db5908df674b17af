"""What is digested is what an output depends on, and no more."""

import shutil
from pathlib import Path

import pytest

from export import sources
from export.networks.catalogue import BUILDS
from export.precision.calibration import Calibration
from export.repository.origin import exporter_digest
from tests.support.paths import ROOT

MEDIA = ROOT / "docs" / "media"
CALIBRATION = Calibration(MEDIA / "portrait.png", MEDIA / "speech.wav", (64, 64))


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the packages, of which the digests are taken."""
    for package in sources.PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=lambda folder, names: [
                name for name in names if not (Path(folder, name).is_dir() or name.endswith(".py"))
            ],
        )
    monkeypatch.setattr(sources, "ROOT", tmp_path)
    return tmp_path


def edit(file: Path) -> None:
    file.write_text(file.read_text() + "\nEDITED = True\n")


@pytest.mark.parametrize(
    ("file", "networks"),
    [
        ("export/onnx/trace.py", set(BUILDS["flash"])),
        ("export/checkpoint/weights.py", set(BUILDS["flash"])),
        ("export/precision/half_storage.py", set(BUILDS["flash"])),
        ("server/triton/contract.py", set(BUILDS["flash"])),
        ("export/models/vae/layers.py", {"vae_encoder", "vae_decoder"}),
        ("export/models/text_encoder.py", {"text_encoder"}),
        ("server/audio/frame_rate.py", {"audio_encoder"}),
        ("export/models/denoiser/rotary.py", {"denoiser", "denoiser_cached", "time_modulation"}),
        *(
            (file, set[str]())
            for file in (
                "export/cli/onnx.py",
                "export/sources.py",
                "export/repository/exporter.py",
                "export/repository/model_config.py",
                "export/onnx/compare.py",
                "export/precision/calibration.py",
                "export/checkpoint/inspection.py",
                "export/checkpoint/tiny.py",
                "export/tensorrt/profiles.py",
                "export/demo/recipe.py",
                "server/manifest.py",
                "server/animation/pipeline.py",
            )
        ),
    ],
)
def test_an_edit_exports_again_what_it_may_change(
    copied: Path, file: str, networks: set[str]
) -> None:
    before = {name: exporter_digest("flash", name) for name in BUILDS["flash"]}
    edit(copied / file)
    after = {name: exporter_digest("flash", name) for name in BUILDS["flash"]}
    assert {name for name in before if before[name] != after[name]} == networks


@pytest.mark.parametrize(
    ("file", "again"),
    [
        ("server/animation/pipeline.py", True),
        ("server/audio/timeline.py", True),
        ("export/precision/calibration.py", True),
        ("export/models/vae/layers.py", True),
        ("server/api/service.py", False),
        ("server/sessions/jobs.py", False),
        ("server/settings.py", False),
        ("export/cli/onnx.py", False),
        ("export/tensorrt/engines.py", False),
    ],
)
def test_an_edit_calibrates_again_what_it_may_change(copied: Path, file: str, again: bool) -> None:
    before = CALIBRATION.digest()
    edit(copied / file)
    assert (CALIBRATION.digest() != before) == again


def test_imports_count_wherever_they_stand(copied: Path) -> None:
    (copied / "export" / "made.py").write_text(
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    import export.errors\n\n\n"
        "def late() -> None:\n    from export import sources\n"
    )
    names = [str(path.relative_to(copied)) for path in sources.closure("export.made")]
    assert names == ["export/made.py", "export/sources.py"]
