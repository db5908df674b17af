"""A gateway whose real Triton has too little memory for what streams ask of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.manifest import FILE, read_manifest
from tests.support.gateway_process import TRITON_VENV, Running, gateway
from tests.support.paths import TINY_REPOSITORY
from tests.support.serving import frames, said, speech, start
from tests.support.short_backend import ENVIRONMENT, LARGE, PLENTY, change, leave_room, shorten

SMALL = 64
SHORT = ("denoiser", "vae_decoder")
LIGHT = "vae_decoder_light"

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
    """The tiny models in two sizes, of which some refuse what they are told has no room.

    What stands for a lighter decoder is the usual one.
    """
    repository = tmp_path_factory.mktemp("short") / "models"
    shutil.copytree(TINY_REPOSITORY, repository)
    shutil.copytree(repository / "vae_decoder", repository / LIGHT)
    change(repository / LIGHT / "config.pbtxt", {'"vae_decoder"': f'"{LIGHT}"'})
    described = read_manifest(repository)
    light = {LIGHT: described.networks["vae_decoder"]}
    offered = described.model_copy(
        update={
            "networks": described.networks | light,
            "sizes": ((LARGE, LARGE), (SMALL, SMALL)),
        }
    )
    (repository / FILE).write_text(offered.model_dump_json())
    shorten(repository, *SHORT)
    return repository


@pytest.fixture(scope="module")
def running(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("gateway")
    # A trial that finds no room would have Triton replaced.
    words = ("--lower-when-out-of-memory", "--health-interval-s=600")
    with gateway(folder, *words, repository=repository, variables=ENVIRONMENT) as it:
        yield it


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
    smaller, told = stream(running)
    assert smaller.shape == usual.shape
    assert f"made at {SMALL}x{SMALL} from now on, and enlarged" in told[1]

    leave_room(repository, 0.25)
    with pytest.raises(grpc.RpcError) as caught:
        stream(running)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "not enough memory to run denoiser" in str(caught.value.details())

    leave_room(repository, PLENTY)
    again, told = stream(running)
    assert told == []
    np.testing.assert_array_equal(again, usual)
    assert running.serving()


def test_a_decoder_that_has_no_room_gives_way_to_the_lighter_one(
    running: Running, repository: Path
) -> None:
    usual, _ = stream(running)
    leave_room(repository, 2, "vae_decoder")
    lighter, told = stream(running)
    assert [("a lighter decoder" in message) for message in told] == [True]
    # Here both are the same, and the window is decoded again, not made again.
    np.testing.assert_array_equal(lighter, usual)
    leave_room(repository, PLENTY, "vae_decoder")
