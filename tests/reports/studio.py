"""A picture of the studio while it speaks: docs/media/studio.jpg. Needs a chromium.

python -m tests.reports.studio REPOSITORY
"""

import argparse
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

from client.demo.gateway_process import LOOPBACK, running_gateway
from client.demo.media import PORTRAIT
from tests.reports.markdown import DOCS
from tests.support.browser import CHROMIUM
from tests.support.gateway_process import TRITON_VENV, free_port
from tests.support.paths import ROOT

PICTURE = DOCS / "media" / "studio.jpg"
SIZE = {"width": 1040, "height": 840}
QUALITY = 85
MOUTH_OPEN = 60
"""A frame of the text in which the mouth is open."""
WAIT_MS = 120_000


def photograph(url: str) -> bytes:
    """Returns a JPEG of the page, some words into its text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
        )
        page = browser.new_page(viewport=SIZE)  # pyright: ignore[reportArgumentType]
        page.goto(url)
        status = page.locator("#status")
        expect(status).to_have_text("Ready.", timeout=WAIT_MS)
        page.get_by_role("button", name="Say it").click()
        expect(status).to_have_text("Speaking.", timeout=WAIT_MS)
        while page.evaluate("studio.player.log.at(-1)?.index ?? 0") < MOUTH_OPEN:
            page.wait_for_timeout(20)
        expect(status).to_have_text("Speaking.", timeout=WAIT_MS)
        picture = page.screenshot(type="jpeg", quality=QUALITY)
        browser.close()
    return picture


def main() -> None:
    """Serves the demo and takes the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    repository = parser.parse_args().repository
    port = free_port()
    words = ("--http-port", str(port), "--default-portrait", str(PORTRAIT))
    log = ROOT / "build" / "studio-report.log"
    with running_gateway(repository, TRITON_VENV, log, *words):
        PICTURE.write_bytes(photograph(f"http://{LOOPBACK}:{port}/"))


if __name__ == "__main__":
    main()
