"""Clips and frames by POST: the same as gRPC's, and hostile bodies are refused by name."""

import asyncio
import base64
import gc
import io
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx2
import numpy as np
import pytest
import soundfile
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image

from server.access.caller import Caller
from server.api import calls
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http, wav
from tests.support.serving import Served, portrait, served, small_windows, speech, until

SPEECH = speech(16_000)
FRAMES = 25


class Site:
    """A gateway by gRPC and by HTTP."""

    def __init__(self, engine: FakeEngine, grpc: Served, http: httpx2.AsyncClient) -> None:
        self.engine, self.grpc, self.http = engine, grpc, http

    async def frames_by_grpc(self) -> list[bytes]:
        request = pb.RenderRequest(
            portrait=pb.Portrait(image=portrait()),
            audio_format=pb.AudioFormat(
                encoding=pb.AUDIO_ENCODING_PCM_S16LE, sample_rate_hz=16_000, channels=1
            ),
            audio=SPEECH.tobytes(),
            output=pb.RENDER_OUTPUT_FRAMES,
        )
        answers = self.grpc.stub.Render(request)
        return [a.frame.data async for a in answers if a.WhichOneof("message") == "frame"]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    folder = tmp_path / "sounds"
    folder.mkdir()
    (folder / "speech.wav").write_bytes(wav(SPEECH))
    (tmp_path / "secret.wav").write_bytes(wav(SPEECH))
    (folder / "link.wav").symlink_to(tmp_path / "secret.wav")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe.wav")
    engine = FakeEngine()
    settings = small_windows(http_audio_folder=folder, max_streams=2, max_message_bytes=32 * 2**20)
    async with served(engine, tmp_path, settings) as grpc, by_http(grpc) as http:
        yield Site(engine, grpc, http)


def parts(**more: Any) -> dict[str, Any]:
    return {"portrait": ("me.png", portrait()), "audio": ("a.wav", wav(SPEECH)), **more}


def split(answer: httpx2.Response) -> list[bytes]:
    """The pictures of a multipart answer."""
    assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=frame"
    assert answer.content.endswith(b"\r\n--frame--\r\n")
    found: list[bytes] = []
    rest = answer.content
    while not rest.startswith(b"--frame--"):
        head, _, rest = rest.partition(b"\r\n\r\n")
        fields = dict(line.split(b": ") for line in head.split(b"\r\n")[1:])
        assert int(fields[b"X-Frame-Index"]) == len(found)
        assert int(fields[b"X-Audio-Sample"]) == 640 * len(found)
        size = int(fields[b"Content-Length"])
        found.append(rest[:size])
        rest = rest[size + 2 :]
    return found


PICTURES = {"accept": "multipart/x-mixed-replace"}


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
async def test_frames_are_those_of_grpc(site: Site, kind: str) -> None:
    files = parts(audio=("speech", wav(SPEECH, kind=kind)))
    answer = await site.http.post("/v1/animate", files=files, headers=PICTURES)
    assert split(answer) == await site.frames_by_grpc()


async def test_bare_pcm_is_taken_with_its_rate(site: Site) -> None:
    files = parts(audio=("speech", SPEECH.tobytes()))
    data = {"sample_rate_hz": "16000", "encoding": "s16le"}
    answer = await site.http.post("/v1/animate", files=files, data=data, headers=PICTURES)
    assert split(answer) == await site.frames_by_grpc()


async def test_ogg_is_taken(site: Site) -> None:
    file = io.BytesIO()
    soundfile.write(file, SPEECH, 16_000, format="OGG", subtype="VORBIS")
    files = parts(audio=("speech", file.getvalue()))
    answer = await site.http.post("/v1/animate", files=files, headers=PICTURES)
    assert len(split(answer)) == FRAMES


async def test_the_answer_is_an_mp4_unless_pictures_are_asked_for(site: Site) -> None:
    answer = await site.http.post("/v1/animate", files=parts())
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content)) as file:
        assert file.streams.video[0].frames == FRAMES
        assert len(file.streams.audio) == 1


@pytest.mark.parametrize(
    ("accept", "query", "container", "sounds"),
    [
        ("video/webm", "", "matroska,webm", 1),
        ("image/gif", "", "gif", 0),
        ("video/mp4", "?live=true", "mov,mp4,m4a,3gp,3g2,mj2", 1),
        ("*/*", "?live=false", "mov,mp4,m4a,3gp,3g2,mj2", 1),
    ],
)
async def test_the_answer_is_the_film_that_is_accepted(
    site: Site, accept: str, query: str, container: str, sounds: int
) -> None:
    headers = {"accept": accept}
    answer = await site.http.post(f"/v1/animate{query}", files=parts(), headers=headers)
    assert answer.headers["content-type"] == accept.replace("*/*", "video/mp4")
    assert (b"moof" in answer.content) == (query == "?live=true")
    with av.open(io.BytesIO(answer.content), "r") as file:
        assert file.format.name == container
        assert len(list(file.decode(video=0))) == FRAMES
        assert len(file.streams.audio) == sounds


@pytest.mark.parametrize(
    ("accept", "query"), [("video/webm", "?live=true"), ("video/mp4", "?live=7")]
)
async def test_only_an_mp4_can_be_live(site: Site, accept: str, query: str) -> None:
    headers = {"accept": accept}
    answer = await site.http.post(f"/v1/animate{query}", files=parts(), headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (400, "live")


async def test_settings_are_a_render_requests(site: Site) -> None:
    data = {"settings": json.dumps({"video_format": {"encoding": "FRAME_ENCODING_PNG"}})}
    answer = await site.http.post("/v1/animate", files=parts(), data=data, headers=PICTURES)
    assert all(Image.open(io.BytesIO(data)).format == "PNG" for data in split(answer))


async def test_render_answers_with_rows_for_rows(site: Site) -> None:
    """What the setup guide's script does, with the name of a file in the folder."""
    pixels = np.asarray(Image.open(io.BytesIO(portrait())))
    body = {"image": pixels.tolist(), "audio_file": "speech.wav"}
    answer = await site.http.post("/render", json=body)
    frame = np.array(answer.json()["frame"])
    assert frame.shape == (64, 64, 3)
    assert answer.json()["frame_index"] == 0
    whole = await site.http.post(
        "/v1/animate",
        files=parts(),
        data={"settings": json.dumps({"video_format": {"encoding": "FRAME_ENCODING_PNG"}})},
        headers=PICTURES,
    )
    expected = np.asarray(Image.open(io.BytesIO(split(whole)[0])))
    np.testing.assert_array_equal(frame, expected)


@pytest.mark.parametrize("index", [0, 24])
async def test_render_answers_with_the_frame_asked_for(site: Site, index: int) -> None:
    image = base64.b64encode(portrait()).decode()
    body = {"image": image, "audio": base64.b64encode(wav(SPEECH)).decode(), "frame_index": index}
    expected = (await site.frames_by_grpc())[index]
    by_json = await site.http.post("/render", json=body)
    assert base64.b64decode(by_json.json()["frame"]) == expected
    files = {"image": ("me.png", portrait()), "audio": ("a.wav", wav(SPEECH))}
    by_parts = await site.http.post("/render", files=files, data={"frame_index": str(index)})
    assert base64.b64decode(by_parts.json()["frame"]) == expected


SOUND = {"audio_file": "speech.wav"}
DOT = [[[1, 2, 3]] * 64] * 64


def deep(levels: int) -> bytes:
    return b'{"image": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"[]", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b'{"image": NaN}', "body"),
        (deep(100_000), "body"),
        ({}, "image"),
        ({"image": 5}, "image"),
        ({"image": "!!"}, "image"),
        ({"image": "\u00e9"}, "image"),
        ({"image": "QUJD", **SOUND}, "portrait.image"),
        ({"image": [], **SOUND}, "image"),
        ({"image": [[[1, 2, 3]], [[1, 2]]], **SOUND}, "image"),
        ({"image": [[[1, 2]]], **SOUND}, "image"),
        ({"image": [[["a", "b", "c"]]], **SOUND}, "image"),
        ({"image": [[[1, 2, -3]]], **SOUND}, "image"),
        ({"image": [[[1, 2, 10**400]]], **SOUND}, "image"),
        (b'{"image": [[[1, 2, 1e999]]], "audio_file": "speech.wav"}', "image"),
        ({"image": [[[True, False, True]]], **SOUND}, "image"),
        ({"image": [[[{}, 1, 2]]], **SOUND}, "image"),
        ({"image": DOT}, "audio"),
        ({"image": DOT, "audio": "!!"}, "audio"),
        ({"image": DOT, "audio": "QUJD"}, "audio"),
        ({"image": DOT, "audio": "QUJD", "sample_rate_hz": 16000}, "audio"),
        ({"image": DOT, "audio": "QUJD", "sample_rate_hz": 2**40}, "sample_rate_hz"),
        ({"image": DOT, "audio": "QUJD", **SOUND}, "audio_file"),
        ({"image": DOT, **SOUND, "frame_index": 25}, "frame_index"),
        ({"image": DOT, **SOUND, "frame_index": -1}, "frame_index"),
        ({"image": DOT, **SOUND, "color": "blue"}, "color"),
        ({"image": DOT, **SOUND, "settings": {"steps": 3}}, "settings"),
        ({"image": DOT, **SOUND, "settings": {"audio": "AAAA"}}, "settings.audio"),
        ({"image": DOT, **SOUND, "settings": {"blink_over_speech": True}}, "blink_over_speech"),
        (
            {"image": DOT, **SOUND, "settings": {"generation": {"prompt": "\ud800"}}},
            "settings",
        ),
        (
            {"image": DOT, **SOUND, "settings": {"generation": {"steps": 999}}},
            "generation.steps",
        ),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused(site: Site, body: Any, field: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    json_type = {"content-type": "application/json"}
    answer = await site.http.post("/render", content=content, headers=json_type)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["reason"], problem["field"]) == ("INVALID_FIELD", field)
    assert site.grpc.gateway.admission.active == 0


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.wav", "/etc/passwd", "link.wav", "sub", "pipe.wav", "", ".", "..", "no.wav"),
        *("a\0b", "sub/../speech.wav", "x" * 5000, "\ud800"),
    ],
)
async def test_nothing_outside_the_folder_is_opened(site: Site, name: str) -> None:
    body = json.dumps({"image": DOT, "audio_file": name}).encode()
    json_type = {"content-type": "application/json"}
    answer = await site.http.post("/render", content=body, headers=json_type)
    assert (answer.status_code, answer.json()["field"]) == (400, "audio_file")
    assert "/" not in answer.json()["detail"].replace("WAV", "")


async def test_a_folder_that_cannot_be_opened_has_no_files(site: Site, tmp_path: Path) -> None:
    (tmp_path / "sounds").rename(tmp_path / "moved")
    answer = await site.http.post("/render", json={"image": DOT, **SOUND})
    assert (answer.status_code, answer.json()["field"]) == (400, "audio_file")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"x", "multipart/form-data"),
        (b"x", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
            "multipart/form-data; boundary=x",
        ),
        (b"a=1", "application/x-www-form-urlencoded"),
        (b"a", ""),
    ],
)
async def test_a_body_of_no_parts_is_refused(site: Site, content: bytes, kind: str) -> None:
    answer = await site.http.post("/v1/animate", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_FIELD")


async def test_a_body_without_end_is_not_read_to_it(site: Site) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(2**20)

    json_type = {"content-type": "application/json"}
    request = site.http.build_request("POST", "/render", content=endless(), headers=json_type)
    try:
        answer = await site.http.send(request)
        assert (answer.status_code, answer.json()["limit"]) == (413, "max_body_bytes")
    except httpx2.TransportError:
        # It was still writing when the connection was closed.
        pass
    assert site.grpc.gateway.admission._opening.total() == 0  # pyright: ignore[reportPrivateUsage]


async def test_the_length_alone_is_enough_to_refuse(site: Site) -> None:
    host, port = site.http.base_url.host, site.http.base_url.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 99999999999\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    writer.close()


async def test_a_long_sound_in_few_bytes_is_refused(site: Site) -> None:
    silence = wav(np.zeros(8000 * 301, np.int16), 8000, "FLAC")
    answer = await site.http.post("/v1/animate", files=parts(audio=("a", silence)))
    assert (answer.status_code, answer.json()["limit"]) == (413, "max_render_audio")


@pytest.mark.parametrize(
    ("kind", "body"),
    [("application/json", b"{"), ("multipart/form-data; boundary=b", b"no parts")],
)
async def test_nothing_more_is_waited_for_after_a_body_that_is_none(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str, body: bytes
) -> None:
    monkeypatch.setattr(calls, "READ_OUT_S", 1000)
    async with asyncio.timeout(20):
        answer = await site.http.post("/render", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["reason"]) == (400, "INVALID_FIELD")


async def test_what_is_sent_twice_is_refused_and_nothing_of_it_is_kept(site: Site) -> None:
    answer = await site.http.post("/v1/animate", files=[*parts().items(), *parts().items()])
    assert answer.status_code == 400
    assert "was sent twice" in answer.json()["detail"]
    # What is left open warns when it goes, and a warning is an error.
    gc.collect()


async def test_a_full_server_says_when_to_come_again(site: Site) -> None:
    admission = site.grpc.gateway.admission
    async with admission.place(Caller("a")), admission.place(Caller("b")):
        answer = await site.http.post("/v1/animate", files=parts())
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "2"
    assert answer.json()["reason"] == "NO_FREE_STREAM"
    assert answer.json()["limit"] == "max_streams"


async def test_a_request_given_up_frees_its_place(site: Site) -> None:
    admission = site.grpc.gateway.admission
    site.engine.delay_s = 60
    asking = asyncio.create_task(site.http.post("/v1/animate", files=parts()))
    await until(lambda: admission.active == 1)
    asking.cancel()
    await until(lambda: admission.active == 0)


async def test_an_upload_given_up_ends(site: Site) -> None:
    host, port = site.http.base_url.host, site.http.base_url.port
    _, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /render HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{"
    )
    opening = site.grpc.gateway.admission._opening  # pyright: ignore[reportPrivateUsage]
    await until(lambda: opening.total() == 1)
    writer.close()
    await until(lambda: opening.total() == 0)


async def test_what_nobody_foresaw_is_told_by_an_id_only(site: Site) -> None:
    site.engine.error = RuntimeError("secret")
    answer = await site.http.post("/v1/animate", files=parts())
    assert (answer.status_code, answer.json()["reason"]) == (500, "INTERNAL")
    assert "secret" not in answer.text
    assert answer.json()["correlation_id"] in answer.json()["detail"]


async def test_pages_of_other_sites_are_refused(site: Site) -> None:
    answer = await site.http.post(
        "/v1/animate", files=parts(), headers={"origin": "https://elsewhere.example"}
    )
    assert (answer.status_code, answer.json()["field"]) == (400, "origin")
    own = str(site.http.base_url).rstrip("/")
    assert (await site.http.post("/v1/animate", files=parts(), headers={"origin": own})).is_success


async def test_the_request_id_is_the_clients(site: Site) -> None:
    answer = await site.http.post("/render", content=b"", headers={"x-request-id": "mine"})
    assert answer.json()["request_id"] == "mine"
