"""Avatars by HTTP: those that gRPC has, too."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from echomimic.v1 import avatar_service_pb2 as pb

from server.access.access import Access
from server.access.keys import Keys, digest
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http, wav
from tests.support.serving import SIZE, Served, portrait, served, small_windows, speech

SPEECH = wav(speech(6400))
JPEGS = {"accept": "multipart/x-mixed-replace"}


class Site:
    """A gateway by gRPC and by HTTP."""

    def __init__(self, grpc: Served, http: httpx2.AsyncClient) -> None:
        self.grpc, self.http = grpc, http

    async def created(self, **fields: str) -> str:
        answer = await self.http.post("/v1/avatars", files={"portrait": portrait()}, data=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["avatar"]["avatar_id"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with served(FakeEngine(), tmp_path, small_windows()) as grpc, by_http(grpc) as http:
        yield Site(grpc, http)


async def test_an_avatar_is_one_of_grpc_as_well(site: Site) -> None:
    avatar_id = await site.created(width="96", height=str(SIZE))
    (listed,) = (await site.grpc.stub.ListAvatars(pb.ListAvatarsRequest())).avatars
    assert (listed.avatar_id, listed.width, listed.height) == (avatar_id, 96, SIZE)
    (one,) = (await site.http.get("/v1/avatars")).json()["avatars"]
    assert one == (await site.http.get(f"/v1/avatars/{avatar_id}")).json()["avatar"]
    assert one["avatar_id"] == avatar_id
    assert one["expire_time"] == listed.expire_time.ToJsonString()
    assert (await site.http.delete(f"/v1/avatars/{avatar_id}")).json() == {}
    assert not (await site.grpc.stub.ListAvatars(pb.ListAvatarsRequest())).avatars


async def test_warnings_come_with_the_answer(site: Site) -> None:
    small = {"portrait": portrait(128)}
    answer = (await site.http.post("/v1/avatars", files=small)).json()
    assert "PORTRAIT_SMALL" in [warning["reason"] for warning in answer["warnings"]]
    refused = await site.http.post("/v1/avatars", files=small, data={"strict": "true"})
    assert (refused.status_code, refused.json()["field"]) == (400, "portrait.image")


async def test_a_clip_of_an_avatar_is_that_of_its_portrait(site: Site) -> None:
    audio, avatar_id = {"audio": SPEECH}, await site.created()
    plain = await site.http.post(
        "/v1/animate", files=audio | {"portrait": portrait()}, headers=JPEGS
    )
    made = await site.http.post(
        "/v1/animate", files=audio, data={"avatar_id": avatar_id}, headers=JPEGS
    )
    assert made.status_code == 200
    assert made.content == plain.content


@pytest.mark.parametrize(
    ("files", "data", "field"),
    [
        ({}, {}, "portrait"),
        ({"portrait": portrait()}, {"avatar_id": "a"}, "portrait"),
        ({}, {"avatar_id": "a", "settings": '{"portrait": {"strict": true}}'}, "settings.portrait"),
    ],
)
async def test_a_clip_is_of_one_or_the_other(
    site: Site, files: dict[str, bytes], data: dict[str, str], field: str
) -> None:
    answer = await site.http.post("/v1/animate", files={"audio": SPEECH} | files, data=data)
    assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_what_is_not_there_is_not_found(site: Site) -> None:
    unknown = {"avatar_id": "unknown"}
    for answer in (
        await site.http.get("/v1/avatars/unknown"),
        await site.http.delete("/v1/avatars/..%2Funknown"),
        await site.http.post("/v1/animate", files={"audio": SPEECH}, data=unknown),
    ):
        assert answer.status_code == 404
        assert answer.json().get("reason", "AVATAR_NOT_FOUND") == "AVATAR_NOT_FOUND"
    assert (await site.http.get("/v1/avatars/unknown")).json()["field"] == "avatar_id"


async def test_another_caller_finds_nothing(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    entries = (f'[[key]]\nname = "{name}"\nsha256 = "{digest(name)}"\n' for name in ("ann", "bob"))
    keys.write_text("".join(entries))
    guarded = Access(Keys(keys))
    async with (
        served(FakeEngine(), tmp_path, small_windows(), access=guarded) as grpc,
        by_http(grpc) as http,
    ):
        http.headers["authorization"] = "Bearer ann"
        avatar_id = await Site(grpc, http).created()
        http.headers["authorization"] = "Bearer bob"
        assert (await http.get("/v1/avatars")).json() == {"avatars": []}
        assert (await http.delete(f"/v1/avatars/{avatar_id}")).status_code == 404
        data = {"avatar_id": avatar_id}
        stolen = await http.post("/v1/animate", files={"audio": SPEECH}, data=data)
        assert stolen.status_code == 404
        http.headers["authorization"] = "Bearer ann"
        assert (await http.get(f"/v1/avatars/{avatar_id}")).status_code == 200
