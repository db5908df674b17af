"""The words that the program's commands share."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import typer

from echomimic_client.choices import (
    FaceBox,
    Framing,
    GenerationSettings,
    IdleMode,
    SamplerName,
    VideoFormat,
)
from echomimic_client.options import CallOptions

JPEG_QUALITY = 95
"""Frames travel as JPEG of this quality: no loss to be seen, a sixth of the raw size."""

MAX_INT32, MAX_UINT64 = 2**31 - 1, 2**64 - 1
"""What the contract's fields hold; the server's own limits are lower."""
ADDRESS = "127.0.0.1:50051"


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


def parse_face_box(text: str) -> FaceBox:
    """Reads a box as 10,20,210,260."""
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),(\d{1,5}),(\d{1,5})", text)
    if match is None:
        raise typer.BadParameter("write it as LEFT,TOP,RIGHT,BOTTOM in pixels")
    return FaceBox(*map(int, match.groups()))


def parse_frame_rate(text: str) -> Fraction:
    """Reads a rate as 15, 23.976, 29.97 or 30000/1001."""
    named = {"23.976": Fraction(24_000, 1001), "29.97": Fraction(30_000, 1001)}
    try:
        return named.get(text) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter("write it as 15, 23.976 or 29.97") from None


PortraitFile = Annotated[Path | None, typer.Option(help="A picture file: head and shoulders.")]
AvatarId = Annotated[
    str | None,
    typer.Option(metavar="ID", help="In its place: what `animate avatars create` has prepared."),
]
SpeechFile = Annotated[
    Path | None,
    typer.Option(help="Speech: WAV, FLAC, OGG, MP3; with the extra mp4 also M4A, WebM, films."),
]
Text = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Speak a text in place of a file (extra voice).")
]
VoiceName = Annotated[
    str, typer.Option(metavar="MODULE:FUNCTION", help="Who speaks it, if not espeak-ng.")
]
Film = Annotated[
    Path | None, typer.Option(dir_okay=False, help="The film to write: .mp4, .webm or .gif.")
]
FrameFolder = Annotated[
    Path | None, typer.Option(file_okay=False, help="A folder for the frames, a file each.")
]
Server = Annotated[str, typer.Option(help="host:port")]
SizeOption = Annotated[
    Size | None,
    typer.Option(parser=parse_size, metavar="WxH", help="One of the server's, as 512x512."),
]
Encoding = Annotated[
    Literal["jpeg", "png", "webp", "h264"],
    typer.Option(help="What the frames' files are; one after the other h264 ones are a video."),
]
JpegQuality = Annotated[
    int, typer.Option(min=1, max=100, help="Quality of frames as jpeg or webp.")
]
FrameRate = Annotated[
    Fraction,
    typer.Option(
        parser=parse_frame_rate, metavar="FPS", help="Frames a second: 8 to 30, 23.976 or 29.97."
    ),
]
BlendFrames = Annotated[
    bool, typer.Option("--blend-frames", help="Blend frames between two of the model's.")
]
Idle = Annotated[
    IdleMode | None,
    typer.Option(help="What is shown until the speech begins: warp, model, or nothing, still."),
]
Blink = Annotated[
    bool, typer.Option("--blink", help="Lay blinks over speech where the model forgets to blink.")
]
Steps = Annotated[
    int | None,
    typer.Option(min=1, max=MAX_INT32, help="Denoising steps: 6 is fast, 8 balanced, 12 maximum."),
]
Preset = Annotated[
    str | None, typer.Option(help="The name of a number of steps: fast, balanced, maximum.")
]
AudioGuidance = Annotated[
    float | None, typer.Option(help="How strongly the speech drives the face; 1 is off.")
]
StyleCfg = Annotated[
    float | None, typer.Option(help="How strongly the style is followed, whatever the variant.")
]
Prompt = Annotated[
    str | None,
    typer.Option(
        help="What the picture shows: a text, or one of the server's styles, as cinematic, "
        "professional, artistic or natural."
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, max=MAX_UINT64, help="Seed of the noise.")]
Sampler = Annotated[SamplerName | None, typer.Option(help="The sampler.")]
Face = Annotated[
    FaceBox | None,
    typer.Option(parser=parse_face_box, metavar="L,T,R,B", help="The face, for preview models."),
]
FramingOption = Annotated[
    Framing, typer.Option(help="Show as much of the portrait as fits, or head and shoulders.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse a portrait about which there are warnings.")
]
Deadline = Annotated[
    float | None, typer.Option(min=0.001, help="Seconds after which the call fails.")
]


def call_options(
    video: VideoFormat,
    generation: GenerationSettings,
    face_box: FaceBox | None,
    framing: Framing,
    deadline_s: float | None,
    *,
    strict: bool,
    blink: bool,
) -> CallOptions:
    """Puts together what a call is told."""
    return {
        "video": video,
        "generation": generation,
        "face_box": face_box,
        "framing": framing,
        "strict": strict,
        "blink_over_speech": blink,
        "deadline_s": deadline_s,
    }
