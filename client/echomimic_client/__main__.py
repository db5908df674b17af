"""`animate`, or `python -m echomimic_client`: a portrait and a sound file to an MP4."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import grpc
import typer

from echomimic_client.audio import read_audio
from echomimic_client.blocking import AvatarClient
from echomimic_client.errors import CallError, ClientError
from echomimic_client.progress import frame_bar
from echomimic_client.recording import Recording, record
from echomimic_client.results import GenerationSettings, SamplerName, VideoFormat

JPEG_QUALITY = 95
"""Frames travel as JPEG of this quality: no loss to be seen, a sixth of the raw size."""

MAX_INT32, MAX_UINT64 = 2**31 - 1, 2**64 - 1
"""What the contract's fields hold; the server's own limits are lower."""

app = typer.Typer(add_completion=False)


class Size(NamedTuple):
    """A picture size in pixels."""

    width: int
    height: int


def parse_size(text: str) -> Size:
    """Reads a size as 512x512."""
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise typer.BadParameter("write it as 512x512")
    return Size(int(match[1]), int(match[2]))


@app.command()
def animate(
    *,
    portrait: Annotated[Path, typer.Option(help="JPEG, PNG or WebP: head and shoulders.")],
    audio: Annotated[Path, typer.Option(help="Speech: WAV, FLAC, OGG or MP3.")],
    out: Annotated[Path, typer.Option(dir_okay=False, help="The MP4 to write.")],
    server: Annotated[str, typer.Option(help="host:port")] = "127.0.0.1:50051",
    live: Annotated[
        bool, typer.Option("--live", help="Send the audio as it is spoken, not at once.")
    ] = False,
    chunk_ms: Annotated[
        int, typer.Option(min=1, help="Milliseconds of audio in one message.")
    ] = 40,
    size: Annotated[
        Size | None,
        typer.Option(parser=parse_size, metavar="WxH", help="One of the server's, as 512x512."),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1, max=MAX_INT32, help="Denoising steps: 6 is fast, 8 balanced, 12 maximum."
        ),
    ] = None,
    audio_guidance: Annotated[
        float | None, typer.Option(help="How strongly the speech drives the face; 1 is off.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="What the picture shows.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_UINT64, help="Seed of the noise.")
    ] = None,
    sampler: Annotated[SamplerName | None, typer.Option(help="The sampler.")] = None,
) -> None:
    """Animates a portrait with speech and writes an MP4 with sound.

    What is left out takes the server's default.
    """
    width, height = size or (0, 0)
    video = VideoFormat("jpeg", width, height, JPEG_QUALITY)
    generation = GenerationSettings(
        prompt=prompt, steps=steps, audio_guidance=audio_guidance, sampler=sampler, seed=seed
    )
    with one_line_errors(server):
        clip = read_audio(audio)
        image = portrait.read_bytes()
        out.parent.mkdir(parents=True, exist_ok=True)
        with AvatarClient(server) as client, frame_bar(clip.frame_count) as show:
            recording = record(
                client,
                image,
                clip,
                live=live,
                chunk_ms=chunk_ms,
                video=video,
                generation=generation,
                on_picture=lambda frame, _: show(frame.index + 1),
            )
        out.write_bytes(recording.mp4)
    for warning in recording.warnings:
        typer.echo(f"warning: {warning.message}", err=True)
    typer.echo(f"{out}: {summary(recording)}")


def summary(recording: Recording) -> str:
    """Says how a film came, in a line."""
    return (
        f"{recording.frames} frames, "
        f"the first after {1000 * recording.first_frame_s:.0f} ms, "
        f"{recording.realtime_factor:.2f} x real time"
    )


@contextmanager
def one_line_errors(server: str) -> Iterator[None]:
    """Ends the program with a line on standard error where something fails.

    Ctrl-C ends it quietly, with status 130, as typer does by itself.
    """
    try:
        yield
    except CallError as error:
        unreachable = error.code is grpc.StatusCode.UNAVAILABLE and error.reason is None
        _fail(f"no answer from {server}; is the server running?" if unreachable else str(error))
    except (ClientError, OSError) as error:
        _fail(str(error))


def _fail(problem: str) -> None:
    typer.echo(f"error: {problem}", err=True)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
