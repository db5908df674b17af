"""Plans that would not run are refused before a Triton is started."""

import asyncio
from pathlib import Path

import pytest

from server.app import serve
from server.manifest import FILE, Manifest, NetworkEntry
from server.settings import Settings
from server.triton.errors import PlansElsewhereError
from server.triton.plans import check_plans, same_version
from tests.support.serving import manifest


def with_plans(**tools: str) -> Manifest:
    plan = NetworkEntry(backend="tensorrt", precision="fp16")
    return manifest().model_copy(update={"networks": {"denoiser": plan}, "tool_versions": tools})


@pytest.mark.parametrize(
    ("built", "here", "same"),
    [
        ("10.14.1.48", "10.14.1.48", True),
        ("10.14.1.48.post1", "10.14.1.48+cuda13.0", True),
        ("10.14.1", "10.14.1.48", True),
        ("10.14.1.48", "10.14.1.49", False),
        ("10.14.1.48", "10.15.1.48", False),
        ("10.14", "10.14.1.48", False),
        ("an unknown version", "10.14.1.48", False),
    ],
)
def test_versions_agree_in_all_that_both_state(built: str, here: str, same: bool) -> None:
    assert same_version(built, here) is same


def test_plans_run_in_the_tensorrt_that_built_them() -> None:
    built = with_plans(tensorrt="10.14.1.48")
    check_plans(built, Path("engines"), "10.14.1.48", "")
    check_plans(manifest(), Path("onnx"), None, "")


def test_plans_of_another_are_refused_with_the_container_to_take() -> None:
    built = with_plans(tensorrt="10.14.1.48", tritonserver="26.03")
    with pytest.raises(PlansElsewhereError) as caught:
        check_plans(built, Path("engines"), "10.15.1.2", "or build them again here")
    assert str(caught.value) == (
        "engines holds plans of TensorRT 10.14.1.48, and here is TensorRT 10.15.1.2; serve them "
        "in nvcr.io/nvidia/tritonserver:26.03-py3, or build them again here"
    )


def test_the_gateway_starts_no_triton_for_plans(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(with_plans(tensorrt="10.14.1.48").model_dump_json())
    settings = Settings.model_validate(
        {"repository": tmp_path, "port": 0, "triton_venv": tmp_path / "none"}
    )
    with pytest.raises(PlansElsewhereError, match=r"and here is no TensorRT; .*--triton-url"):
        asyncio.run(serve(settings))
