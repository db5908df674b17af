"""Which services the settings have the gateway offer."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from server.app import services
from server.sessions.gateway import Gateway
from server.sessions.jobs import Offer
from tests.support.fake_engine import FakeEngine
from tests.support.serving import manifest, portrait, small_windows, tokenizer

KSERVE = "inference.GRPCInferenceService"


def names(folder: Path, **changes: object) -> list[str]:
    settings = small_windows(**changes)
    gateway = Gateway(Offer(settings, manifest()), FakeEngine(), tokenizer(folder))
    return [service.name for service in services(settings, gateway, lambda: True)]


def test_kserve_is_spoken_unless_it_is_switched_off(tmp_path: Path) -> None:
    assert names(tmp_path) == ["echomimic.v1.AvatarService", KSERVE]
    assert names(tmp_path, kserve=False) == ["echomimic.v1.AvatarService"]


def test_channelz_is_there_only_if_it_is_switched_on(tmp_path: Path) -> None:
    pytest.importorskip("grpc_channelz", reason="grpcio-channelz is not installed")
    assert "grpc.channelz.v1.Channelz" in names(tmp_path, channelz=True)


def test_the_default_portrait_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "portrait.png"
    with pytest.raises(ValidationError, match="does not point to a file"):
        small_windows(default_portrait=file)
    file.write_bytes(portrait())
    assert KSERVE in names(tmp_path, default_portrait=file)
