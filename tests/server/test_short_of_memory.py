"""A gateway whose real Triton has too little memory for what streams ask of the denoiser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.triton.installation import BACKENDS
from tests.support import short_backend
from tests.support.gateway_process import TRITON_VENV, Running, gateway
from tests.support.paths import TINY_REPOSITORY
from tests.support.serving import frames, said, speech, start

PLENTY = 99
"""Latent frames of all rows: a window of 5 frames has 2, one of 9 has 3, and a step has 2 rows."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (TINY_REPOSITORY / "manifest.json").exists(),
        reason="no models; `make test` exports them",
    ),
    pytest.mark.skipif(
        not (TRITON_VENV / "bin").exists(), reason="no Triton; `make test` installs it"
    ),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models, with a denoiser that refuses what it is told there is no room for."""
    repository = tmp_path_factory.mktemp("short") / "models"
    shutil.copytree(TINY_REPOSITORY, repository)
    config = repository / "denoiser" / "config.pbtxt"
    written = config.read_text()
    for ours, pythons in (('"onnxruntime"', '"python"'), ('"model.onnx"', '"model.py"')):
        assert ours in written
        written = written.replace(ours, pythons)
    config.write_text(written)
    (repository / "denoiser" / "1" / "model.py").write_text(short_backend.SOURCE)
    leave_room(repository, PLENTY)
    return repository


@pytest.fixture(scope="module")
def running(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    # A trial that finds no room would have Triton replaced.
    words = ("--lower-when-out-of-memory", "--health-interval-s=600")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(short_backend.VARIABLE, str(BACKENDS / "onnxruntime" / "model.py"))
        with gateway(folder, *words, repository=repository) as it:
            yield it


def leave_room(repository: Path, latent_frames: int) -> None:
    (repository / "denoiser" / "1" / "room").write_text(str(latent_frames))


def stream(running: Running) -> tuple[np.ndarray, list[str]]:
    """Returns the frames of a second of speech, and what was warned of memory."""
    answers: list[pb.AnimateResponse] = list(
        running.stub.Animate(iter([start(), *said(speech(16_000))]))
    )
    pictures = np.array([np.frombuffer(frame.data, np.uint8) for frame in frames(answers)])
    told = [answer.warning for answer in answers if answer.HasField("warning")]
    return pictures, [warning.message for warning in told if warning.reason == "MEMORY_LOW"]


def test_streams_are_lowered_as_far_as_it_helps_and_then_refused(
    running: Running, repository: Path
) -> None:
    usual, told = stream(running)
    assert (len(usual), told) == (25, [])

    leave_room(repository, 3)
    apart, told = stream(running)
    assert [("one after the other" in message) for message in told] == [True]
    # The same sums, perhaps added up in another order.
    assert np.abs(apart.astype(int) - usual).max() <= 1

    leave_room(repository, 2)
    shorter, told = stream(running)
    assert len(shorter) == 25
    assert "windows have 5 frames from now on, not 9" in told[1]

    leave_room(repository, 1)
    with pytest.raises(grpc.RpcError) as caught:
        stream(running)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "not enough memory to run denoiser" in str(caught.value.details())

    leave_room(repository, PLENTY)
    again, told = stream(running)
    assert told == []
    np.testing.assert_array_equal(again, usual)
    assert running.serving()
