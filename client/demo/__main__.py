"""`make demo`: starts a gateway, speaks to it live, and keeps the film, a sheet and the numbers."""

import json
import platform
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image

from client.demo.contact_sheet import contact_sheet, spaced
from client.demo.gateway_process import running_gateway
from client.demo.media import PORTRAIT, SPEECH
from echomimic_client.arguments import JPEG_QUALITY
from echomimic_client.audio import FRAME_RATE, AudioClip, read_audio
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import VideoFormat
from echomimic_client.program import one_line_errors, summary
from echomimic_client.progress import frame_bar
from echomimic_client.recording import Recording, record
from echomimic_client.results import Frame, Picture, ServerInfo

LOG = Path("build/gateway.log")
CHUNK_MS = 40
SHOTS = 11
PACKAGES = ("grpcio", "numpy", "tritonclient", "av")


def main(
    repository: Annotated[Path, typer.Option(help="Model repository to serve.")],
    triton_venv: Annotated[Path, typer.Option(help="Environment with a tritonserver.")],
    out: Annotated[Path, typer.Option(help="Folder for demo.mp4, demo.png and demo.json.")],
) -> None:
    """Animates the demo portrait, live."""
    # So that `timeout` and a closed terminal do not leave the gateway behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda caught, _: sys.exit(128 + caught))
    typer.echo(f"starting the gateway, log in {LOG}", err=True)
    with one_line_errors():
        recording = demonstrate(repository, triton_venv, out)
    typer.echo(f"{out}/demo.mp4, demo.png, demo.json: {summary(recording)}")


def demonstrate(repository: Path, triton_venv: Path, out: Path) -> Recording:
    """Runs a gateway, films the demo's speech live, and writes the three files.

    Raises:
        ClientError: the gateway does not start, or the call fails.
    """
    clip = read_audio(SPEECH)
    with running_gateway(repository, triton_venv, LOG) as address, AvatarClient(address) as client:
        info = client.server_info()
        recording, shots = film(client, clip)
    out.mkdir(parents=True, exist_ok=True)
    (out / "demo.mp4").write_bytes(recording.film)
    with Image.open(PORTRAIT) as portrait:
        contact_sheet(portrait, shots).save(out / "demo.png")
    (out / "demo.json").write_text(json.dumps(facts(info, recording, clip), indent=2) + "\n")
    return recording


def film(client: AvatarClient, clip: AudioClip) -> tuple[Recording, list[tuple[float, Picture]]]:
    """Animates the portrait at the speed of speaking; returns the film and some of its frames."""
    wanted = spaced(SHOTS, clip.frame_count)
    shots: list[tuple[float, Picture]] = []
    with frame_bar(clip.frame_count) as show:

        def keep(frame: Frame, picture: Picture) -> None:
            show(frame.index + 1)
            if frame.index in wanted:
                shots.append((frame.pts_s, picture))

        recording = record(
            client,
            PORTRAIT.read_bytes(),
            clip,
            film="mp4",
            live=True,
            chunk_ms=CHUNK_MS,
            video=VideoFormat("jpeg", jpeg_quality=JPEG_QUALITY),
            on_picture=keep,
        )
    return recording, shots


def facts(info: ServerInfo, recording: Recording, clip: AudioClip) -> dict[str, Any]:
    """Returns what demo.json says."""
    video = recording.started.video_format
    return {
        "frames": recording.frames,
        "width": video.width,
        "height": video.height,
        "fps": FRAME_RATE,
        "audio_seconds": round(clip.duration_s, 3),
        "first_frame_ms": round(1000 * recording.first_frame_s),
        "playable_latency_ms": round(1000 * recording.playable_latency_s),
        "realtime_factor": round(recording.realtime_factor, 3),
        "variant": info.variant,
        "steps": recording.started.generation.steps,
        "versions": {
            "server": info.version,
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


if __name__ == "__main__":
    typer.run(main)
