"""Portraits are judged on request and on streams; warnings go on, errors do not."""

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echomimic.v1 import avatar_service_pb2 as pb
from PIL import Image
from typer.testing import CliRunner

from echomimic_client.program import app
from server.errors import EngineUnavailableError
from server.triton.contract import Arrays, Network
from server.triton.engine import Priority
from tests.support.fake_engine import FakeEngine
from tests.support.http import by_http
from tests.support.paths import ROOT
from tests.support.pipeline_reference import Recorder
from tests.support.serving import (
    SIZE,
    Served,
    animate,
    frames,
    manifest,
    refusal,
    said,
    served,
    small_windows,
    speech,
    start,
)

MEDIA = ROOT / "docs" / "media"
DRAWN = (MEDIA / "portrait.png").read_bytes()
ONE_FRAME = said(speech(640))


class Sightless(FakeEngine):
    """An engine whose networks of faces are gone."""

    async def run(self, network: Network, inputs: Arrays, *args: Any, **words: Any) -> Any:
        if network.name == "face_finder":
            raise EngineUnavailableError(network.name, "it is gone")
        return await super().run(network, inputs, *args, **words)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
async def server(engine: FakeEngine, tmp_path: Path) -> AsyncIterator[Served]:
    offer = manifest("flash", meshes=True)
    async with served(engine, tmp_path, small_windows(), offer=offer) as running:
        yield running


def saved(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def drawn() -> Image.Image:
    return Image.open(io.BytesIO(DRAWN)).convert("RGB")


def sideways() -> bytes:
    return saved(drawn().transpose(Image.Transpose.ROTATE_90))


def of_a_phone() -> Image.Image:
    """A picture of 9 : 16 with the head in its upper part."""
    tall = Image.new("RGB", (512, 912), (110, 100, 110))
    tall.paste(drawn(), (0, 0))
    return tall


def opening(image: bytes, **asked: Any) -> pb.AnimateRequest:
    return start(portrait=pb.Portrait(image=image, **asked))


def warned(answers: list[pb.AnimateResponse]) -> list[str]:
    return [a.warning.reason for a in answers if a.WhichOneof("message") == "warning"]


async def checked(server: Served, image: bytes, **asked: Any) -> pb.CheckPortraitResponse:
    portrait = pb.Portrait(image=image, **asked)
    return await server.stub.CheckPortrait(pb.CheckPortraitRequest(portrait=portrait))


def outcomes(answer: pb.CheckPortraitResponse) -> dict[str, str]:
    return {
        check.code: pb.CheckOutcome.Name(check.outcome).removeprefix("CHECK_OUTCOME_")
        for check in answer.checks
    }


async def test_a_good_portrait_is_usable_and_its_face_is_told(server: Served) -> None:
    answer = await checked(server, DRAWN, strict=True)
    assert answer.usable
    assert set(outcomes(answer).values()) == {"PASSED"}
    assert all(check.HasField("measured") and not check.advice for check in answer.checks)
    (face,) = answer.faces
    assert len(face.points) == 2 * 468
    assert [len(eye.upper_lid) for eye in face.eyes] == [18, 18]
    assert face.eyes[0].iris_x == pytest.approx(212.8, abs=4)
    assert (answer.size.width, answer.size.height) == (512, 512)
    assert (answer.shown.left, answer.shown.right) == (0, 512)


async def test_what_is_wrong_is_told_with_advice(server: Served) -> None:
    small = saved(drawn().resize((300, 300)))
    answer = await checked(server, small)
    assert answer.usable
    assert outcomes(answer)["PORTRAIT_SMALL"] == "WARNING"
    (check,) = (check for check in answer.checks if check.code == "PORTRAIT_SMALL")
    assert (check.measured, check.threshold, check.is_minimum) == (300, 512, True)
    assert "512" in check.advice
    assert not (await checked(server, small, strict=True)).usable
    assert not (await checked(server, sideways())).usable


async def test_what_is_no_picture_is_refused_and_names_its_field(server: Served) -> None:
    for message, field in (
        (pb.CheckPortraitRequest(), "portrait"),
        (pb.CheckPortraitRequest(portrait=pb.Portrait(image=b"no")), "portrait.image"),
        (pb.CheckPortraitRequest(portrait=pb.Portrait(image=DRAWN), width=7), "width"),
        (
            pb.CheckPortraitRequest(portrait=pb.Portrait(image=DRAWN, framing=9)),  # pyright: ignore[reportArgumentType]
            "portrait.framing",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.stub.CheckPortrait(message)
        refused = refusal(caught.value)
        assert (refused.code, refused.field) == (grpc.StatusCode.INVALID_ARGUMENT, field)


async def test_a_stream_is_told_of_warnings_and_goes_on(server: Served) -> None:
    nobody = saved(Image.linear_gradient("L").convert("RGB").resize((512, 512)))
    answers = await animate(server, [opening(nobody), *ONE_FRAME])
    assert "FACE_NOT_FOUND" in warned(answers)
    assert len(frames(answers)) == 1


async def test_a_good_portrait_is_streamed_without_a_word(server: Served) -> None:
    answers = await animate(server, [opening(DRAWN, strict=True), *ONE_FRAME])
    assert not warned(answers)
    assert len(frames(answers)) == 1


async def test_nothing_is_told_twice(server: Served) -> None:
    small = saved(drawn().resize((300, 300)))
    assert warned(await animate(server, [opening(small), *ONE_FRAME])) == ["PORTRAIT_SMALL"]


async def test_an_error_ends_the_stream(server: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="FACE_TILTED") as caught:
        await animate(server, [opening(sideways()), *ONE_FRAME])
    refused = refusal(caught.value)
    assert refused.code == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.field == "start.portrait.image"


async def test_strict_refuses_before_the_stream_is_opened(
    server: Served, engine: FakeEngine
) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="PORTRAIT_SMALL") as caught:
        await animate(server, [opening(saved(drawn().resize((300, 300))), strict=True)])
    assert refusal(caught.value).code == grpc.StatusCode.INVALID_ARGUMENT
    assert not {"vae_encoder", "denoiser"} & set(engine.executions)


async def test_a_face_delays_no_stream_whose_portrait_has_the_frames_shape(
    server: Served, engine: FakeEngine
) -> None:
    await animate(server, [opening(DRAWN), *ONE_FRAME])
    order = dict(zip(engine.executions, engine.priorities, strict=True))
    assert order["face_finder"] is Priority.NORMAL
    assert order["vae_encoder"] is Priority.FIRST_FRAME


async def test_a_phones_picture_shows_the_whole_head(server: Served) -> None:
    answers = await animate(server, [opening(saved(of_a_phone())), *ONE_FRAME])
    assert "PORTRAIT_CROPPED" not in warned(answers)
    answer = await checked(server, saved(of_a_phone()))
    (face,) = answer.faces
    assert answer.shown.top < face.box.top - 50
    assert answer.shown.bottom - answer.shown.top == 512
    assert outcomes(answer)["FACE_CUT_OFF"] == "PASSED"


async def test_head_and_shoulders_are_cut_out_on_request(server: Served, tmp_path: Path) -> None:
    wide = Image.new("RGB", (1600, 1600), (110, 100, 110))
    wide.paste(drawn(), (600, 500))
    close = pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS
    answer = await checked(server, saved(wide), framing=close)
    assert answer.shown == answer.head_and_shoulders
    assert 500 < answer.shown.right - answer.shown.left < 800
    assert outcomes(answer)["FACE_SMALL"] == "PASSED"
    assert outcomes(await checked(server, saved(wide)))["FACE_SMALL"] == "WARNING"
    recorder = Recorder(FakeEngine())
    offer = manifest("flash", meshes=True)
    async with served(recorder, tmp_path, small_windows(), offer=offer) as recorded:
        for asked in ({"framing": close}, {}):
            await animate(recorded, [opening(saved(wide), **asked), *ONE_FRAME])
    near, far = (known[0, 0] for known in recorder.given("vae_encoder", "known"))
    # A row through the middle of the head: it is grey beside it.
    grey = np.array((110, 100, 110))
    assert (np.abs(near[SIZE // 2] - grey.astype(int)).max(-1) > 20).mean() > 0.4
    assert (np.abs(far[SIZE // 2] - grey.astype(int)).max(-1) > 20).mean() < 0.3


async def test_head_and_shoulders_need_a_head(server: Served, tmp_path: Path) -> None:
    close = pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS
    nobody = saved(Image.linear_gradient("L").convert("RGB").resize((512, 512)))
    async with served(FakeEngine(), tmp_path, small_windows()) as without:
        for place, why in ((server, "none was found"), (without, "export them again")):
            with pytest.raises(grpc.aio.AioRpcError, match=why) as caught:
                await animate(place, [opening(nobody, framing=close)])
            assert refusal(caught.value).field == "start.portrait.framing"


async def test_a_repository_without_meshes_says_what_is_not_checked(tmp_path: Path) -> None:
    async with served(FakeEngine(), tmp_path, small_windows()) as without:
        answer = await checked(without, DRAWN)
        assert answer.usable
        found = outcomes(answer)
        assert found["FACE_NOT_FOUND"] == "NOT_CHECKED"
        assert found["PORTRAIT_SMALL"] == "PASSED"
        (check,) = (check for check in answer.checks if check.code == "FACE_NOT_FOUND")
        assert not check.HasField("measured")
        assert "without a mesh" in check.advice
        assert not warned(await animate(without, [opening(DRAWN), *ONE_FRAME]))


async def test_a_stream_goes_on_where_nobody_can_look(tmp_path: Path) -> None:
    offer = manifest("flash", meshes=True)
    async with served(Sightless(), tmp_path, small_windows(), offer=offer) as server:
        for image in (DRAWN, saved(of_a_phone())):
            assert len(frames(await animate(server, [opening(image), *ONE_FRAME]))) == 1
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await animate(server, [opening(DRAWN, strict=True), *ONE_FRAME])
        assert refusal(caught.value).code == grpc.StatusCode.UNAVAILABLE


async def test_an_exact_clip_shows_the_whole_portrait(server: Served) -> None:
    request = pb.RenderRequest(
        portrait=pb.Portrait(image=DRAWN, framing=pb.PORTRAIT_FRAMING_HEAD_AND_SHOULDERS),
        audio_format=opening(DRAWN).start.audio_format,
        audio=speech(16_000).tobytes(),
        output=pb.RENDER_OUTPUT_FRAMES,
        exact_clip=pb.ExactClip(),
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in server.stub.Render(request):
            pass
    assert refusal(caught.value).field == "portrait.framing"


async def test_http_tells_the_same(server: Served) -> None:
    expected = await checked(server, DRAWN)
    async with by_http(server) as http:
        answer = await http.post("/v1/portraits/check", files={"portrait": DRAWN})
        assert answer.status_code == 200
        told = answer.json()
        assert [check["code"] for check in told["checks"]] == [c.code for c in expected.checks]
        assert told["usable"] is True
        strict = {"strict": "true", "framing": "head_and_shoulders"}
        small = saved(drawn().resize((300, 300)))
        answer = await http.post("/v1/portraits/check", files={"portrait": small}, data=strict)
        assert answer.json()["usable"] is False
        for files, data, field in (
            ({"portrait": b"no"}, {}, "portrait.image"),
            ({"portrait": DRAWN}, {"framing": "upside_down"}, "framing"),
            ({"portrait": DRAWN}, {"width": "-1"}, "width"),
            ({"picture": DRAWN}, {}, "portrait"),
        ):
            answer = await http.post("/v1/portraits/check", files=files, data=data)
            assert (answer.status_code, answer.json()["field"]) == (400, field)


async def test_the_program_says_it_and_draws_it(server: Served, tmp_path: Path) -> None:
    def run(image: Path, *words: str) -> Any:
        return CliRunner().invoke(app, ["check", str(image), "--server", server.address, *words])

    out = tmp_path / "new" / "checked.png"
    good = await asyncio.to_thread(run, MEDIA / "portrait.png", "--out", str(out), "--strict")
    assert good.exit_code == 0, good.stderr
    assert "passed: EYES_CLOSED" in good.stdout
    page, plain = Image.open(out), drawn().resize((768, 768))
    assert page.width > page.height == 768
    changed = np.asarray(page.crop((0, 0, 768, 768))).astype(int) - np.asarray(plain)
    assert (np.abs(changed).max(-1) > 60).mean() > 0.002
    (tmp_path / "bad.png").write_bytes(sideways())
    bad = await asyncio.to_thread(run, tmp_path / "bad.png")
    assert bad.exit_code == 1
    assert "error: FACE_TILTED 90" in bad.stdout
    assert "turn the picture upright" in bad.stdout
    assert "not usable" in bad.stderr
