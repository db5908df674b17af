"""Health says whether the server works, and reflection tells strangers what there is."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from echomimic.v1 import avatar_service_pb2 as pb
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from server.api.health import AVATAR_SERVICE, HealthMonitor
from tests.support.fake_engine import FakeEngine
from tests.support.serving import served, small_windows

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def status(servicer: HealthServicer, service: str) -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = await servicer.Check(request, None)
    assert answer is not None
    return answer.status


async def becomes(servicer: HealthServicer, service: str, wanted: int) -> None:
    """Waits for a status; there is none before the monitor runs."""
    async with asyncio.timeout(20):
        while await status(servicer, service) != wanted:  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.01)


async def test_health_says_whether_the_server_works() -> None:
    works = False
    servicer = HealthServicer()
    monitor = HealthMonitor(servicer, lambda: works)
    running = asyncio.create_task(monitor.run())
    await monitor.begun.wait()
    for works in (False, True, False, True):
        monitor.notice()
        wanted = SERVING if works else NOT_SERVING
        for service in (AVATAR_SERVICE, ""):
            await becomes(servicer, service, wanted)
    running.cancel()


async def test_what_changed_before_anybody_looked_is_said() -> None:
    servicer = HealthServicer()
    monitor = HealthMonitor(servicer, lambda: True)
    monitor.notice()
    running = asyncio.create_task(monitor.run())
    await monitor.begun.wait()
    await becomes(servicer, "", SERVING)
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
