"""HTTP of a gateway as a process, with the demo's models."""

import io
import re
import signal
from pathlib import Path

import av
import httpx2
import numpy as np
import pytest
from PIL import Image
from websockets.sync.client import connect

from client.demo.media import PORTRAIT, SPEECH
from tests.support.gateway_process import gateway
from tests.support.paths import ROOT

DEMO = ROOT / "export" / "demo" / "model_repository"

pytestmark = pytest.mark.slow


def test_the_demo_speaks_by_http_until_it_is_told_to_end(tmp_path: Path) -> None:
    (tmp_path / "speech.wav").write_bytes(SPEECH.read_bytes())
    words = ("--http-port=0", f"--http-audio-folder={tmp_path}")
    with gateway(tmp_path, *words, repository=DEMO) as running:
        (url,) = re.findall(r"HTTP is served +url=(\S+)", running.log.read_text())
        with httpx2.Client(base_url=url, timeout=300) as client:
            assert client.get("/readyz").status_code == 200
            files = {"portrait": PORTRAIT.read_bytes(), "audio": SPEECH.read_bytes()}
            clip = client.post("/v1/animate", files=files)
            with av.open(io.BytesIO(clip.content)) as file:
                assert file.streams.video[0].frames > 100
            # The setup guide's way: pixels as a list, and the name of a file.
            pixels = np.asarray(Image.open(PORTRAIT).convert("RGB").resize((512, 512)))
            body = {"image": pixels.tolist(), "audio_file": "speech.wav"}
            frame = np.array(client.post("/render", json=body).json()["frame"])
            assert frame.shape == (128, 128, 3)
            assert frame.std() > 10
        with connect(url.replace("http", "ws") + "/v1/stream") as silent:
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(60) == 0
            with pytest.raises(Exception, match="1012"):
                silent.recv(20)
    assert "Traceback" not in running.log.read_text()
