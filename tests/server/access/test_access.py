"""Who is let in: keys and tokens, by gRPC, KServe and HTTP, and what they may do."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from echomimic.v1 import avatar_service_pb2 as pb
from structlog.testing import capture_logs
from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException
from websockets.asyncio.client import connect

from echomimic_client.aio import AsyncAvatarClient
from server.access.access import Access, access
from server.access.caller import METHODS, Caller
from server.access.files import AccessFileError
from server.access.keys import Keys, digest
from server.access.tokens import Tokens
from server.api.service import SERVICE
from server.errors import PermissionDeniedError, UnauthenticatedError
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.serving import (
    Served,
    frames,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

KEY, LOOKING = "the-key-of-a-caller", "a-key-that-may-look-only"
KEYS = f"""
[[key]]
name = "caller"
sha256 = "{digest(KEY)}"
max_streams = 1
max_avatars = 2

[[key]]
name = "monitor"
sha256 = "{digest(LOOKING)}"
permissions = ["info"]
"""


def shown(secret: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {secret}"),)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(KEYS)
    return path


@pytest.fixture
async def server(tmp_path: Path, keys: Path) -> AsyncIterator[Served]:
    guarded = Access(Keys(keys))
    async with served(FakeEngine(), tmp_path, small_windows(), access=guarded) as running:
        yield running


async def info(server: Served, metadata: tuple[tuple[str, str], ...] = ()) -> str:
    request = pb.GetServerInfoRequest()
    return (await server.stub.GetServerInfo(request, metadata=metadata)).version


async def animated(server: Served, secret: str) -> int:
    messages = iter([start(), *said(speech(640))])
    call = server.stub.Animate(messages, metadata=shown(secret))
    return len(frames([answer async for answer in call]))


async def test_a_call_needs_a_key(server: Served) -> None:
    assert await info(server, shown(KEY))
    for metadata in ((), shown("another"), shown(""), (("authorization", f"Basic {KEY}"),)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await info(server, metadata)
        said_so = refusal(refused.value)
        assert (said_so.code, said_so.reason) == (
            grpc.StatusCode.UNAUTHENTICATED,
            "UNAUTHENTICATED",
        )
        assert said_so.text.startswith("authorization: ")


async def test_a_key_does_what_it_may_and_no_more(server: Served) -> None:
    assert await info(server, shown(LOOKING))
    assert await animated(server, KEY) == 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await animated(server, LOOKING)
    said_so = refusal(refused.value)
    assert (said_so.code, said_so.reason) == (
        grpc.StatusCode.PERMISSION_DENIED,
        "PERMISSION_DENIED",
    )
    assert "monitor may not call Animate" in said_so.text


async def test_a_keys_own_limit_holds_wherever_its_calls_come_from(server: Served) -> None:
    admission = server.gateway.admission
    async with admission.place(Caller("caller", max_streams=1)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await animated(server, KEY)
    assert refusal(refused.value).reason == "NO_FREE_STREAM"
    assert await animated(server, KEY) == 1


async def test_a_key_is_told_its_own_limit(server: Served) -> None:
    for secret, places in ((KEY, 1), (LOOKING, server.gateway.offer.settings.max_streams)):
        request = pb.GetServerInfoRequest()
        told = await server.stub.GetServerInfo(request, metadata=shown(secret))
        assert told.limits.max_streams_per_caller == places
        kept = 2 if secret == KEY else server.gateway.offer.settings.max_avatars
        assert told.limits.max_avatars_per_caller == kept
    messages = iter([start(), *said(speech(640))])
    call = server.stub.Animate(messages, metadata=shown(KEY))
    animated = [answer async for answer in call]
    assert animated[0].started.limits.max_streams_per_caller == 1
    rendering = pb.RenderRequest(
        portrait=start().start.portrait,
        audio_format=start().start.audio_format,
        audio=speech(640).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
    )
    rendered = [answer async for answer in server.stub.Render(rendering, metadata=shown(KEY))]
    assert rendered[0].started.limits.max_streams_per_caller == 1


async def test_no_key_may_hold_more_places_than_there_are(server: Served) -> None:
    admission = server.gateway.admission
    there_are = server.gateway.offer.settings.max_streams
    assert admission.places_of(Caller("caller", max_streams=there_are + 1)) == there_are


async def test_the_client_shows_its_key(server: Served) -> None:
    async with AsyncAvatarClient(server.address, api_key=KEY) as client:
        assert (await client.server_info()).version


async def test_the_log_names_the_caller_and_no_secret(server: Served) -> None:
    with capture_logs() as logs:
        await animated(server, KEY)
        with pytest.raises(grpc.aio.AioRpcError):
            await info(server, shown("a-secret-nobody-knows"))
    assert logs[1]["caller"] == "caller"
    assert KEY not in str(logs)
    assert "a-secret-nobody-knows" not in str(logs)


async def test_kserve_asks_for_the_same_key(server: Served) -> None:
    async with aio.InferenceServerClient(server.address) as client:
        assert await client.is_server_live(headers={"authorization": f"Bearer {KEY}"})
        with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
            await client.get_server_metadata()


async def test_http_asks_for_the_same_key_before_it_reads_a_body(server: Served) -> None:
    async with by_http(server) as http:
        spoken = await http.post("/v1/speech", json={"text": "Hello."})
        assert spoken.status_code == 401
        refused = await http.post("/v1/animate", content=b"never looked at")
        assert (refused.status_code, refused.json()["reason"]) == (401, "UNAUTHENTICATED")
        assert refused.headers["www-authenticate"] == "Bearer"
        header = {"authorization": f"Bearer {LOOKING}"}
        denied = await http.post("/v1/animate", content=b"", headers=header)
        assert (denied.status_code, denied.json()["reason"]) == (403, "PERMISSION_DENIED")
        header = {"authorization": f"Bearer {KEY}"}
        let_in = await http.post("/v1/animate", content=b"", headers=header)
        assert let_in.json()["reason"] == "INVALID_FIELD"
        assert (await http.get("/healthz")).is_success


async def test_a_browser_shows_its_key_among_the_protocols_of_a_socket(server: Served) -> None:
    async with by_http(server) as http:
        url = f"ws://127.0.0.1:{http.base_url.port}/v1/stream"
        async with connect(url, subprotocols=["echomimic.v1", f"bearer.{KEY}"]) as socket:  # pyright: ignore
            assert socket.subprotocol == "echomimic.v1"
            await socket.send(json.dumps({"end": {}}))
            assert json.loads(await socket.recv())["error"]["reason"] == "INVALID_FIELD"
        async with connect(url) as socket:
            assert json.loads(await socket.recv())["error"]["reason"] == "UNAUTHENTICATED"


def test_keys_are_read_again_when_their_file_changes(keys: Path) -> None:
    known = Keys(keys)
    assert known.caller(KEY)
    keys.write_text("")
    assert known.caller(KEY), "a file that cannot be used changes nothing"
    keys.write_text(KEYS.replace(digest(KEY), digest("another")))
    assert known.caller(KEY) is None
    assert known.caller("another") == Caller("caller", max_streams=1, max_avatars=2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("key", "cannot be read as keys"),
        ("[[key]]\nname = 'a b'", "key.0.name"),
        (f"[[key]]\nname = 'a'\nsha256 = '{KEY}'", "key.0.sha256"),
        (KEYS.replace("info", "everything"), "key.1.permissions"),
        (KEYS.replace("max_streams", "most_streams"), "key.0.most_streams"),
        (KEYS + KEYS, "twice"),
    ],
)
def test_a_file_of_keys_that_cannot_be_used_is_refused_by_its_entry(
    keys: Path, text: str, problem: str
) -> None:
    keys.write_text(text)
    with pytest.raises(AccessFileError, match=problem) as refused:
        Keys(keys)
    assert KEY not in str(refused.value)


SIGNER, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
ELLIPTIC = jwt.get_algorithm_by_name("ES256")


def jwk_set(*private: ec.EllipticCurvePrivateKey, **more: str) -> str:
    """Their public keys, with the ids 0, 1, ..."""
    public = [json.loads(ELLIPTIC.to_jwk(key.public_key())) for key in private]
    return json.dumps({"keys": [{"kid": str(n), **key, **more} for n, key in enumerate(public)]})


def token(private: Any = SIGNER, kid: str | None = None, **claims: object) -> str:
    stated = {"sub": "agent", "exp": time.time() + 60, **claims}
    kept = {name: claim for name, claim in stated.items() if claim is not None}
    return jwt.encode(kept, private, "ES256", {"kid": kid} if kid else None)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    path = tmp_path / "jwks.json"
    path.write_text(jwk_set(SIGNER))
    return Tokens(path, audience="avatars", issuer="https://login.example")


LATER_S = 10**8
"""After any run of the tests, whose parameters are made before the first one."""
OURS = {"aud": "avatars", "iss": "https://login.example"}


def test_a_token_says_who_calls_and_what_they_may(tokens: Tokens) -> None:
    assert tokens.caller(token(**OURS)) == Caller("agent")
    narrow = token(**OURS, scope="render email", max_streams=2, max_avatars=0)
    assert tokens.caller(narrow) == Caller("agent", frozenset({"render"}), 2, 0)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": time.time() - 60},
        {"exp": None},
        {"sub": None},
        {"nbf": time.time() + LATER_S},
        {"aud": "others"},
        {"aud": None},
        {"iss": "https://elsewhere.example"},
        {"max_streams": 0},
        {"max_avatars": -1},
        {"scope": 3},
    ],
)
def test_a_token_that_does_not_hold_proves_nothing(
    tokens: Tokens, claims: dict[str, object]
) -> None:
    assert tokens.caller(token(**{**OURS, **claims})) is None


def test_only_a_signature_of_the_keys_counts(tokens: Tokens) -> None:
    assert tokens.caller(token(OTHER, **OURS)) is None
    nothing: Any = None
    unsigned = jwt.encode({"sub": "agent", "exp": time.time() + 60, **OURS}, nothing, "none")
    assert tokens.caller(unsigned) is None
    shared = jwt.encode({"sub": "agent", "exp": time.time() + 60, **OURS}, "s" * 32, "HS256")
    assert tokens.caller(shared) is None
    for garbage in ("", "a.b.c", "..", "no token", token(**OURS)[:-4]):
        assert tokens.caller(garbage) is None


def test_of_several_keys_the_token_names_its_own(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(jwk_set(SIGNER, OTHER))
    several = Tokens(path, None, None)
    assert several.caller(token(OTHER, kid="1")) == Caller("agent")
    assert several.caller(token(OTHER, kid="0")) is None
    assert several.caller(token(OTHER)) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("nothing", "cannot be read as a JWK set"),
        ('{"keys": []}', "cannot be read as a JWK set"),
        ("[]", "cannot be read as a JWK set"),
        (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "is for HS256"),
        (jwk_set(SIGNER, OTHER, kid="same"), "need a `kid` each"),
    ],
)
def test_keys_for_tokens_that_cannot_be_used_are_refused(
    tmp_path: Path, text: str, problem: str
) -> None:
    path = tmp_path / "jwks.json"
    path.write_text(text)
    with pytest.raises(AccessFileError, match=problem):
        Tokens(path, None, None)


def test_a_token_signed_by_rsa_is_let_in_beside_keys(tmp_path: Path, keys: Path) -> None:
    private = rsa.generate_private_key(65537, 2048)
    jwks = tmp_path / "jwks.json"
    public = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(private.public_key()))
    jwks.write_text(json.dumps({"keys": [public]}))
    both = access(small_windows(api_keys=keys, jwt_keys=jwks))
    signed = jwt.encode({"sub": "agent", "exp": time.time() + 60}, private, "RS256")
    assert both.admit("Animate", "", shown(signed)).name == "agent"
    assert both.admit("Animate", "", shown(KEY)).name == "caller"
    with pytest.raises(UnauthenticatedError):
        both.admit("Animate", "", shown("neither"))
    with pytest.raises(PermissionDeniedError):
        both.admit("Render", "", shown(LOOKING))


def test_everybody_is_let_in_where_nothing_is_asked() -> None:
    assert access(small_windows()).admit("Animate", "ipv4:10.0.0.1", ()).name == "ipv4:10.0.0.1"


def test_every_method_that_does_work_takes_a_permission_of_its_own() -> None:
    telling = {"GetServerInfo"}
    assert {method.name for method in SERVICE.methods} - METHODS.keys() == telling
