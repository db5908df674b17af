"""The studio in a real browser: Debian's chromium, with a file for a microphone."""

import io
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from playwright.async_api import Page, async_playwright

from tests.support.serving import speech

CHROMIUM = shutil.which("chromium") or ""
"""Debian's; empty where it is not installed."""
needs_chromium = pytest.mark.skipif(
    not CHROMIUM, reason="no chromium on the PATH: apt-get install --no-install-recommends chromium"
)

TAP = """
class Tap extends AudioWorkletProcessor {
  process([[input]]) {
    if (input) this.port.postMessage({ at: currentFrame, samples: input.slice() });
    return true;
  }
}
registerProcessor("tap", Tap);
"""
"""Hands over what is played, block by block, with its first sample on the device's clock."""


@asynccontextmanager
async def chromium_page(
    microphone: Path | None = None, *words: str, records: bool = False
) -> AsyncIterator[Page]:
    """A page of a browser of its own; an error in one of its scripts fails the test.

    Args:
        microphone: a WAV that it hears, once; None refuses every page the microphone.
        words: further ones for its command line.
        records: lets the test put a script of its own into the page, whose policy forbids it.
    """
    allowed = (
        ("--use-fake-ui-for-media-stream", f"--use-file-for-fake-audio-capture={microphone}%noloop")
        if microphone
        else ("--deny-permission-prompts",)
    )
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream", *allowed, *words]
    errors: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            page = await browser.new_page(bypass_csp=records)
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda said: errors.extend([said.text] * (said.type == "error")))
            yield page
        finally:
            await browser.close()
    # Answers that are problems, or none, are the page's to tell.
    assert [error for error in errors if "Failed to load resource" not in error] == []


async def record(page: Page) -> None:
    """Begins to record what the studio plays; `recorded` returns it."""
    await page.evaluate(
        """async (tap_source) => {
          const { context, output } = studio.player;
          const source = new Blob([tap_source], { type: "text/javascript" });
          await context.audioWorklet.addModule(URL.createObjectURL(source));
          const tap = new AudioWorkletNode(context, "tap");
          globalThis.taped = [];
          tap.port.onmessage = ({ data }) => taped.push(data);
          output.connect(tap);
          tap.connect(context.destination);
        }""",
        TAP,
    )


async def recorded(page: Page) -> NDArray[np.float32]:
    """What was played, by the sample of the device's clock."""
    blocks: list[Any] = await page.evaluate(
        "taped.map(({ at, samples }) => [at, Array.from(samples)])"
    )
    end = max(at + len(samples) for at, samples in blocks)
    sound = np.zeros(end, np.float32)
    for at, samples in blocks:
        sound[at : at + len(samples)] = samples
    return sound


def noise_wav(seconds: float, rate: int) -> tuple[bytes, NDArray[np.int16]]:
    """A sound file in which every place is like no other, and its samples."""
    samples = speech(round(seconds * rate), rate)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
    return file.getvalue(), samples


def places_of(heard: NDArray[np.float32], said: NDArray[np.float32]) -> Iterator[int]:
    """Yields where in what was said the beginning of what was heard may be: one place, or none."""
    length = len(heard)
    for place in np.flatnonzero(np.abs(said[: 1 - length] - heard[0]) < 1e-4):
        if np.allclose(said[place : place + length], heard, atol=1e-4):
            yield int(place)
