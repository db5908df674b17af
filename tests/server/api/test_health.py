"""Health is what an inference says, and reflection tells strangers what there is."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from server.api.health import AVATAR_SERVICE, HealthMonitor, probe
from server.errors import EngineUnavailableError
from server.sessions.jobs import Offer
from server.triton.contract import NETWORKS, Variant
from tests.support.fake_engine import FakeEngine
from tests.support.serving import (
    manifest,
    served,
    small_windows,
    tokenizer,
    until,
)

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("variant", ["flash", "preview"])
async def test_a_probe_runs_every_network(tmp_path: Path, variant: Variant) -> None:
    engine = FakeEngine()
    offer = Offer(small_windows(), manifest(variant))
    for _ in range(2):
        engine.executions.clear()
        await probe(engine, tokenizer(tmp_path), offer)
        assert set(engine.executions) == set(NETWORKS[variant])


class Keeper:
    """Stands for the keeper of a Triton of our own."""

    def __init__(self) -> None:
        self.replaced = 0

    async def ready(self) -> None:
        return

    def replace(self) -> None:
        self.replaced += 1


async def status(servicer: HealthServicer, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await servicer.Check(request, None)
    assert answer is not None
    return answer.status


async def test_health_follows_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.health.RETRY_S", 0.01)
    works = True
    up = asyncio.Event()

    async def try_engine() -> None:
        await up.wait()
        if not works:
            raise EngineUnavailableError("denoiser", "the execution failed")

    servicer, keeper = HealthServicer(), Keeper()
    monitor = HealthMonitor(servicer, try_engine, keeper, is_busy=lambda: True, interval_s=60)
    running = asyncio.create_task(monitor.run())
    await monitor.begun.wait()
    assert await status(servicer, AVATAR_SERVICE) == NOT_SERVING
    up.set()
    await until(lambda: monitor.serving)
    assert await status(servicer, AVATAR_SERVICE) == SERVING
    assert await status(servicer, "") == SERVING
    works = False
    monitor.suspect()
    await until(lambda: not monitor.serving)
    assert await status(servicer, "") == NOT_SERVING
    await until(lambda: keeper.replaced > 0)
    works = True
    await until(lambda: monitor.serving)
    running.cancel()


async def test_a_stranger_finds_and_calls_the_service_by_reflection(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        names, answer = await asyncio.to_thread(_ask_by_reflection, server.address)
    assert {AVATAR_SERVICE, "grpc.health.v1.Health"} <= names
    assert answer.variant == "flash"


def _ask_by_reflection(address: str) -> tuple[set[str], Any]:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        # Not the pool that holds our own generated code: what is found here came over the wire.
        pool = descriptor_pool.DescriptorPool(database)
        service = pool.FindServiceByName(AVATAR_SERVICE)
        method = service.FindMethodByName("GetServerInfo")
        call = channel.unary_unary(
            f"/{service.full_name}/{method.name}",
            request_serializer=message_factory.GetMessageClass(method.input_type).SerializeToString,
            response_deserializer=message_factory.GetMessageClass(method.output_type).FromString,
        )
        answer = call(message_factory.GetMessageClass(method.input_type)())
        return set(database.get_services()), answer


async def test_the_contract_by_reflection_is_the_one_in_git(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as server:
        found = await asyncio.to_thread(_file_by_reflection, server.address)
    expected = descriptor_pb2.FileDescriptorProto()
    pb.DESCRIPTOR.CopyToProto(expected)
    assert found == expected


def _file_by_reflection(address: str) -> descriptor_pb2.FileDescriptorProto:
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        return database.FindFileContainingSymbol(AVATAR_SERVICE)
