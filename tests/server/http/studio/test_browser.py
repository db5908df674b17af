"""The page in a real browser, against the gateway with an engine of the tests' own."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.async_api import FilePayload, Page, expect

from client.demo.media import PORTRAIT, SPEECH
from server.access.access import Access
from server.access.keys import Keys, digest
from server.http.app import make_app
from server.http.listener import HttpListener
from tests.support import voices
from tests.support.browser import (
    chromium_page,
    needs_chromium,
    noise_wav,
    places_of,
    record,
    recorded,
)
from tests.support.gated_engine import GatedEngine
from tests.support.http import by_http
from tests.support.serving import Served, portrait, served, small_windows

pytestmark = [pytest.mark.slow, needs_chromium]

SYLLABLES = "tests.support.voices:syllables"
FRAME_S = 0.04
DISPLAY_S = 0.1
"""Between two pictures of a display; a headless one on a busy machine is slower than any."""
PROBE_S = 0.02
"""Sound that tells its place in what was said."""


class Studio:
    """The page, opened, with its gateway behind it."""

    def __init__(self, page: Page, engine: GatedEngine, grpc: Served, url: str) -> None:
        self.page, self.engine, self.grpc, self.url = page, engine, grpc, url

    async def is_ready(self) -> None:
        await self.says("Ready.")

    async def says(self, text: str) -> None:
        await expect(self.page.locator("#status")).to_have_text(text, timeout=30_000)

    async def choose(self, name: str, data: bytes, kind: str) -> None:
        await self.page.locator("#portrait").set_input_files(
            FilePayload(name=name, mimeType=kind, buffer=data)
        )

    async def play(self, seconds: float) -> NDArray[np.float32]:
        """Chooses a sound file; returns its samples, which are at the page's rate."""
        wav, samples = noise_wav(seconds, await self.page.evaluate("studio.player.rate"))
        sound = FilePayload(name="speech.wav", mimeType="audio/wav", buffer=wav)
        await self.page.locator("#speech").set_input_files(sound)
        return samples.astype(np.float32) / np.float32(32768)

    async def press_hold(self) -> None:
        # What is found of the portrait moves the button: it could be missed.
        await expect(self.page.locator("#findings")).not_to_be_empty()
        await self.page.locator("#hold").hover()
        await self.page.mouse.down()

    async def drawn(self) -> list[dict[str, Any]]:
        return await self.page.evaluate("studio.player.log")

    async def shows_no_problem(self) -> None:
        await expect(self.page.locator("#problem")).to_be_hidden()


@asynccontextmanager
async def studio(
    folder: Path,
    *words: str,
    microphone: Path | None = SPEECH,
    records: bool = False,
    access: Access | None = None,
    **settings: Any,
) -> AsyncIterator[Studio]:
    engine = GatedEngine()
    settings = {"default_portrait": PORTRAIT} | settings
    async with (
        served(engine, folder, small_windows(**settings), access=access) as grpc,
        by_http(grpc) as http,
        chromium_page(microphone, *words, records=records) as page,
    ):
        url = str(http.base_url)
        await page.goto(url)
        yield Studio(page, engine, grpc, url)


def offsets_s(
    drawn: list[dict[str, Any]], played: NDArray[np.float32], said: NDArray[np.float32], rate: int
) -> list[float]:
    """How long after a frame's own beginning the sound was that was heard as it was drawn."""
    probe = round(PROBE_S * rate)
    found: list[float] = []
    for entry in drawn:
        heard = played[entry["heard"] : entry["heard"] + probe]
        # Across a pause the probe is of two places, or of none.
        if len(heard) == probe:
            found += [(at - entry["sample"]) / rate for at in places_of(heard, said)]
    return found


async def test_what_is_heard_is_what_is_drawn(tmp_path: Path) -> None:
    async with studio(tmp_path, records=True) as here:
        await here.is_ready()
        await record(here.page)
        said = await here.play(3)
        await here.says("Speaking.")
        await here.is_ready()
        drawn, played = await here.drawn(), await recorded(here.page)
        rate = await here.page.evaluate("studio.player.rate")
        await here.shows_no_problem()
    indices = [entry["index"] for entry in drawn]
    assert indices == sorted(set(indices))
    assert indices[-1] == 74
    found = offsets_s(drawn, played, said, rate)
    assert len(found) > 0.8 * len(drawn) > 20
    assert min(found) >= 0
    assert max(found) < FRAME_S
    # All of it was played, once and in order; a busy machine may have had it wait in between.
    np.testing.assert_allclose(played[played != 0], said[said != 0], atol=1e-4)


async def test_sound_and_face_wait_together_for_a_late_frame(tmp_path: Path) -> None:
    async with studio(tmp_path, records=True) as here:
        await here.is_ready()
        await record(here.page)
        await here.page.evaluate("studio.player.timeline.buffer = 0")
        here.engine.executions.clear()
        said = await here.play(3)
        await here.engine.close_gate("vae_decoder")
        await here.says("Waiting for frames …")
        here.engine.open_gate("vae_decoder")
        await here.is_ready()
        drawn, played = await here.drawn(), await recorded(here.page)
        rate = await here.page.evaluate("studio.player.rate")
        stalls = await here.page.locator("#stalls").inner_text()
    found = offsets_s(drawn, played, said, rate)
    assert len(found) > 0.6 * len(drawn) > 15
    assert (min(found) >= 0, max(found) < FRAME_S) == (True, True)
    assert drawn[-1]["index"] == 74
    assert int(stalls.split(",")[0]) >= 1


async def test_a_typed_text_moves_the_mouth_before_its_last_word_is_spoken(tmp_path: Path) -> None:
    async with studio(tmp_path, records=True, voice=SYLLABLES) as here:
        await here.is_ready()
        await record(here.page)
        await here.page.get_by_label("Text").fill("one two three")
        voices.hold.clear()
        await here.page.get_by_role("button", name="Say it").click()
        try:
            await here.says("Speaking.")
        finally:
            voices.hold.set()
        await here.is_ready()
        drawn, played = await here.drawn(), await recorded(here.page)
        rate = await here.page.evaluate("studio.player.rate")
        await here.shows_no_problem()
    assert drawn[-1]["index"] == 74
    assert np.count_nonzero(played) > 2.9 * rate


async def test_a_server_without_a_voice_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.delitem(sys.modules, "echomimic_client.espeak", raising=False)
    async with studio(tmp_path) as here:
        await here.is_ready()
        await here.page.get_by_label("Text").press("Control+Enter")
        await expect(here.page.locator("#problem")).to_contain_text("the extra `voice`")
        await here.is_ready()


async def test_the_microphone_is_heard_while_the_button_is_held(tmp_path: Path) -> None:
    async with studio(tmp_path, records=True) as here:
        await here.is_ready()
        await record(here.page)
        await here.press_hold()
        await here.says("Listening …")
        await expect(here.page.locator("#hold")).to_have_attribute("aria-pressed", "true")
        await here.page.wait_for_timeout(2000)
        await here.page.mouse.up()
        await here.is_ready()
        drawn, played = await here.drawn(), await recorded(here.page)
        await here.shows_no_problem()
        assert here.grpc.gateway.admission.active == 1
    assert len(drawn) > 15
    assert np.abs(played).max() > 0.01


async def test_the_button_stays_held_when_it_moves_from_under_the_pointer(tmp_path: Path) -> None:
    async with studio(tmp_path) as here:
        await here.is_ready()
        await here.press_hold()
        await here.says("Listening …")
        await here.page.locator("#hold").evaluate("hold => { hold.style.marginTop = '200px' }")
        await here.page.mouse.move(0, 0)
        await here.page.wait_for_timeout(500)
        await here.says("Listening …")
        await here.page.mouse.up()
        await here.is_ready()
        await expect(here.page.locator("#hold")).to_have_attribute("aria-pressed", "false")


async def test_keys_hold_the_button_too(tmp_path: Path) -> None:
    async with studio(tmp_path) as here:
        await here.is_ready()
        await here.page.locator("#hold").focus()
        await here.page.keyboard.down("Space")
        await here.says("Listening …")
        await here.page.keyboard.up("Space")
        await here.is_ready()
        await expect(here.page.locator("#hold")).to_have_attribute("aria-pressed", "false")


async def test_an_interruption_stops_sound_and_face_and_talk_goes_on(tmp_path: Path) -> None:
    async with studio(tmp_path, records=True) as here:
        await here.is_ready()
        await here.play(20)
        await here.says("Speaking.")
        await here.page.locator("#interrupt").click()
        await here.is_ready()
        stopped = len(await here.drawn())
        await record(here.page)
        await here.page.wait_for_timeout(500)
        assert not (await recorded(here.page)).any()
        assert len(await here.drawn()) == stopped
        said = await here.play(1)
        await here.says("Speaking.")
        await here.is_ready()
        played = await recorded(here.page)
        drawn = (await here.drawn())[stopped:]
        rate = await here.page.evaluate("studio.player.rate")
    found = offsets_s(drawn, played, np.concatenate([np.zeros(1, np.float32), said]), rate)
    start = drawn[0]["sample"]
    assert found
    assert all(0 <= offset + start / rate < FRAME_S + 1 / rate for offset in found)


async def test_a_refused_portrait_is_said_and_another_is_taken(tmp_path: Path) -> None:
    async with studio(tmp_path, default_portrait=None) as here:
        await here.says("Choose a portrait to begin.")
        await expect(here.page.locator("#hold")).to_be_disabled()
        await here.choose("notes.txt", b"no picture at all", "text/plain")
        await expect(here.page.locator("#problem")).to_contain_text("cannot be used")
        await here.says("Choose a portrait to begin.")
        await here.choose("small.png", portrait(200), "image/png")
        await here.is_ready()
        await here.shows_no_problem()
        await expect(here.page.locator("#findings")).to_contain_text("512")


async def test_a_server_that_is_gone_is_said_and_found_again(tmp_path: Path) -> None:
    engine = GatedEngine()
    settings = small_windows(default_portrait=PORTRAIT)
    async with served(engine, tmp_path, settings) as grpc, chromium_page(SPEECH) as page:
        async with by_http(grpc) as http:
            await page.goto(str(http.base_url))
            here = Studio(page, engine, grpc, str(http.base_url))
            await here.is_ready()
        await expect(page.locator("#problem")).to_contain_text("does not answer")
        listener = HttpListener(
            make_app(grpc.gateway, lambda: True), settings, http.base_url.port or 0
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(listener.run())
            await page.locator("#again").click()
            await here.is_ready()
            await here.shows_no_problem()
            await listener.stop()


async def test_a_refused_microphone_is_said_with_its_remedy(tmp_path: Path) -> None:
    async with studio(tmp_path, microphone=None) as here:
        await here.is_ready()
        await here.press_hold()
        await expect(here.page.locator("#problem")).to_contain_text("microphone")
        await here.page.mouse.up()
        await here.is_ready()
        await here.play(1)
        await here.says("Speaking.")
        await here.is_ready()


async def test_a_sound_that_is_none_is_said(tmp_path: Path) -> None:
    async with studio(tmp_path) as here:
        await here.is_ready()
        file = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"no sound")
        await here.page.locator("#speech").set_input_files(file)
        await expect(here.page.locator("#problem")).to_contain_text("notes.txt cannot be read")


async def test_plain_http_from_elsewhere_is_said_with_its_remedy(tmp_path: Path) -> None:
    rule = "--host-resolver-rules=MAP studio.example 127.0.0.1"
    async with studio(tmp_path, rule) as here:
        await here.page.goto(here.url.replace("127.0.0.1", "studio.example"))
        await expect(here.page.locator("#problem")).to_contain_text("https")


async def test_a_server_that_asks_for_a_key_is_given_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[key]]\nname = "reader"\nsha256 = "{digest("the-key")}"\n')
    async with studio(tmp_path, access=Access(Keys(keys)), voice=SYLLABLES) as here:
        # The operator's portrait is for whoever has a key.
        await here.says("Choose a portrait to begin.")
        await expect(here.page.get_by_label("Access key")).to_be_hidden()
        await here.choose("me.png", portrait(), "image/png")
        await expect(here.page.locator("#problem")).to_contain_text("asks for a key")
        await here.page.get_by_label("Access key").fill("the-key")
        await here.page.get_by_label("Access key").press("Enter")
        await here.is_ready()
        await here.shows_no_problem()
        await expect(here.page.get_by_label("Access key")).to_be_hidden()
        await here.page.get_by_label("Text").fill("one")
        await here.page.get_by_role("button", name="Say it").click()
        await here.says("Speaking.")
        await here.is_ready()


async def test_it_fits_a_phone_and_every_control_has_a_name(tmp_path: Path) -> None:
    async with studio(tmp_path) as here:
        await here.is_ready()
        await here.page.set_viewport_size({"width": 320, "height": 640})
        assert await here.page.evaluate("document.documentElement.scrollWidth") <= 320
        for role, name in (
            ("button", "Hold and speak"),
            ("button", "Interrupt"),
            ("button", "Say it"),
            ("textbox", "Text"),
            ("button", "Choose a sound file"),
            ("button", "Choose a portrait"),
        ):
            assert await here.page.get_by_role(role, name=name).count() == 1, name  # pyright: ignore[reportArgumentType]
