"""The program `animate`: a portrait and a sound file to a film, live or at once."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from echomimic_client.annotated import annotated
from echomimic_client.arguments import (
    ADDRESS,
    JPEG_QUALITY,
    AudioGuidance,
    AvatarId,
    BlendFrames,
    Blink,
    Deadline,
    Encoding,
    Face,
    Film,
    FrameFolder,
    FrameRate,
    FramingOption,
    Idle,
    JpegQuality,
    PortraitFile,
    Preset,
    Prompt,
    Sampler,
    Seed,
    Server,
    SizeOption,
    SpeechFile,
    Steps,
    Strict,
    StyleCfg,
    Text,
    VoiceName,
    call_options,
)
from echomimic_client.audio import AudioClip, read_audio
from echomimic_client.avatar_commands import avatars
from echomimic_client.blocking import AvatarClient
from echomimic_client.choices import ExactClip, FrameEncoding, GenerationSettings, VideoFormat
from echomimic_client.connecting import connected
from echomimic_client.film_kinds import FilmKind, kind_of
from echomimic_client.one_line import one_line_errors
from echomimic_client.playing import Player, watch
from echomimic_client.progress import frame_bar
from echomimic_client.quiet import silent_libraries
from echomimic_client.recording import OnPicture, Recording, record
from echomimic_client.results import Avatar, Frame, Picture, ServerWarning
from echomimic_client.screens import screen, sound_of
from echomimic_client.speaking import SpokenText
from echomimic_client.speaking import say as spoken
from echomimic_client.voice import DEFAULT_VOICE

BUFFER_S = 2.5
"""What servers wait for by default."""
SERVERS_FRAME_RATE = Fraction(0)
SUFFIXES: dict[FrameEncoding, str] = {
    "jpeg": "jpg",
    "png": "png",
    "webp": "webp",
    "h264": "h264",
}


class Commands(TyperGroup):
    """Words that begin with no command are those of `stream`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Puts `stream` in front where it was left out."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["stream", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Commands, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)
app.add_typer(avatars, name="avatars")


@app.command()
def stream(
    *,
    portrait: PortraitFile = None,
    avatar: AvatarId = None,
    audio: SpeechFile = None,
    say: Text = None,
    voice: VoiceName = DEFAULT_VOICE,
    out: Film = None,
    frames: FrameFolder = None,
    server: Server = ADDRESS,
    live: Annotated[
        bool, typer.Option("--live", help="Send the audio as it is spoken, not at once.")
    ] = False,
    chunk_ms: Annotated[
        int, typer.Option(min=1, help="Milliseconds of audio in one message.")
    ] = 40,
    play: Annotated[
        bool,
        typer.Option("--play", help="Show it while it comes, in a window or in the terminal."),
    ] = False,
    buffer_s: Annotated[
        float, typer.Option(min=0, max=10, help="With --play: seconds to wait for before it.")
    ] = BUFFER_S,
    size: SizeOption = None,
    frame_encoding: Encoding = "jpeg",
    jpeg_quality: JpegQuality = JPEG_QUALITY,
    fps: FrameRate = SERVERS_FRAME_RATE,
    blend_frames: BlendFrames = False,
    blink: Blink = False,
    idle: Idle = None,
    steps: Steps = None,
    preset: Preset = None,
    audio_guidance: AudioGuidance = None,
    style_cfg: StyleCfg = None,
    prompt: Prompt = None,
    seed: Seed = None,
    sampler: Sampler = None,
    face_box: Face = None,
    framing: FramingOption = "fill",
    strict: Strict = False,
    deadline_s: Deadline = None,
) -> None:
    """Animates a portrait with speech over a stream; writes a film with sound, frames, or both.

    This is what happens without a command. What is left out takes the server's default.
    """
    if out is None and frames is None and not play:
        raise typer.BadParameter("say where to: --out FILE, --frames FOLDER, or --play")
    kind = out and film_kind(out)
    options = call_options(
        VideoFormat(frame_encoding, *(size or (0, 0)), jpeg_quality, fps, blend_frames),
        GenerationSettings(
            prompt=prompt,
            steps=steps,
            preset=preset,
            audio_guidance=audio_guidance,
            style_cfg=style_cfg,
            sampler=sampler,
            seed=seed,
        ),
        face_box,
        framing,
        deadline_s,
        strict=strict,
        blink=blink,
    )
    with one_line_errors():
        said, image = speech(audio, say, voice), picture(portrait, avatar)
        frame_count = said.frames_at(fps) if isinstance(said, AudioClip) else None
        for folder in (out.parent if out else None, frames):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        if play:
            said = whole(said)
        with (
            connected(server) as client,
            frame_bar(frame_count, is_shown=not play) as show,
        ):

            def keep(frame: Frame, _: Any) -> None:
                show(frame.index + 1)
                if frames is not None:
                    write_frame(frames, frame)

            def made(player: Player | None) -> Recording:
                return record(
                    client,
                    who(client, image, avatar),
                    said,
                    film=kind,
                    live=live,
                    chunk_ms=chunk_ms,
                    idle=idle,
                    on_picture=keep if player is None else shown_too(player, keep),
                    on_started=player and player.start,
                    buffer_s=player and buffer_s,
                    **options,
                )

            recording = played(made, whole(said), buffer_s, client.close) if play else made(None)
        if out is not None:
            out.write_bytes(recording.film)
    show_warnings(recording.warnings)
    typer.echo(f"{out or frames or 'played'}: {summary(recording)}")


@app.command()
def render(
    *,
    portrait: PortraitFile = None,
    avatar: AvatarId = None,
    audio: SpeechFile = None,
    say: Text = None,
    voice: VoiceName = DEFAULT_VOICE,
    out: Film = None,
    frames: FrameFolder = None,
    server: Server = ADDRESS,
    exact: Annotated[
        bool, typer.Option("--exact", help="Make the clip as the authors' program does.")
    ] = False,
    match_colors: Annotated[
        bool, typer.Option("--match-colors", help="With --exact: colours of the first frame.")
    ] = False,
    size: SizeOption = None,
    frame_encoding: Encoding = "jpeg",
    jpeg_quality: JpegQuality = JPEG_QUALITY,
    fps: FrameRate = SERVERS_FRAME_RATE,
    blend_frames: BlendFrames = False,
    blink: Blink = False,
    steps: Steps = None,
    preset: Preset = None,
    audio_guidance: AudioGuidance = None,
    style_cfg: StyleCfg = None,
    prompt: Prompt = None,
    seed: Seed = None,
    sampler: Sampler = None,
    face_box: Face = None,
    framing: FramingOption = "fill",
    strict: Strict = False,
    deadline_s: Deadline = None,
) -> None:
    """Lets the server make the whole clip: a film with sound, or frames."""
    if (out is None) == (frames is None):
        raise typer.BadParameter("say where to: --out FILE or --frames FOLDER")
    if match_colors and not exact:
        raise typer.BadParameter("--match-colors goes with --exact")
    options = call_options(
        VideoFormat(frame_encoding, *(size or (0, 0)), jpeg_quality, fps, blend_frames),
        GenerationSettings(
            prompt=prompt,
            steps=steps,
            preset=preset,
            audio_guidance=audio_guidance,
            style_cfg=style_cfg,
            sampler=sampler,
            seed=seed,
        ),
        face_box,
        framing,
        deadline_s,
        strict=strict,
        blink=blink,
    )
    kind = out and film_kind(out)
    clip_mode = ExactClip(match_colors=match_colors) if exact else None
    with one_line_errors():
        said, image = speech(audio, say, voice), picture(portrait, avatar)
        clip = whole(said)
        with connected(server) as client, frame_bar(clip.frames_at(fps)) as show:
            if out is not None and kind is not None:
                result = client.render(
                    who(client, image, avatar),
                    clip,
                    kind=kind,
                    exact=clip_mode,
                    on_progress=lambda progress: show(progress.frames),
                    **options,
                )
                out.parent.mkdir(parents=True, exist_ok=True)
                out.write_bytes(result.film)
            elif frames is not None:
                frames.mkdir(parents=True, exist_ok=True)
                asked = who(client, image, avatar)
                result = client.render_frames(asked, clip, exact=clip_mode, **options)
                for frame in result:
                    show(frame.index + 1)
                    write_frame(frames, frame)
    show_warnings(result.warnings)
    done = result.summary
    typer.echo(f"{out or frames}: {done.frames} frames, {done.realtime_factor:.2f} x real time")


@app.command()
def check(
    portrait: Annotated[Path, typer.Argument(help="A picture file.")],
    *,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="A picture to write, of what was found.")
    ] = None,
    server: Server = ADDRESS,
    size: SizeOption = None,
    framing: FramingOption = "fill",
    strict: Strict = False,
    deadline_s: Deadline = 60.0,
) -> None:
    """Tells what could be better about a portrait; ends with status 1 if it is not usable."""
    with one_line_errors():
        data = portrait.read_bytes()
        with connected(server) as client:
            report = client.check_portrait(
                data, size=size or (0, 0), framing=framing, strict=strict, deadline_s=deadline_s
            )
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            annotated(data, report).save(out)
    for each in report.checks:
        typer.echo(each)
    if not report.usable:
        typer.echo(f"error: {portrait} is not usable", err=True)
        raise typer.Exit(1)


@app.command()
def info(*, server: Server = ADDRESS, deadline_s: Deadline = 10.0) -> None:
    """Tells what a server runs and offers, as JSON."""
    with one_line_errors(), connected(server) as client:
        typer.echo(json.dumps(asdict(client.server_info(deadline_s=deadline_s)), indent=2))


def picture(portrait: Path | None, avatar: str | None) -> bytes | None:
    """Reads a picture file, unless an avatar is named in its place."""
    if (portrait is None) == (avatar is None):
        raise typer.BadParameter("say who: --portrait FILE or --avatar ID")
    return None if portrait is None else portrait.read_bytes()


def who(client: AvatarClient, image: bytes | None, avatar: str | None) -> bytes | Avatar:
    """Returns who is animated: a picture file, or else the avatar of an id."""
    return image if image is not None else client.get_avatar(avatar or "")


def whole(said: AudioClip | SpokenText) -> AudioClip:
    """Returns speech in one piece, which a player can begin anywhere in."""
    return said if isinstance(said, AudioClip) else said.clip()


def shown_too(player: Player, keep: OnPicture) -> OnPicture:
    """Gives each frame to a player as well."""

    def both(frame: Frame, picture: Picture) -> None:
        keep(frame, picture)
        player.add(frame, time.monotonic())

    return both


def played(
    made: Callable[[Player], Recording],
    clip: AudioClip,
    buffer_s: float,
    stop: Callable[[], object],
) -> Recording:
    """Shows a recording while it is made, with the clip's sound where there is any.

    Where it is given up, ``stop`` has to end the making.
    """
    sound, why_not = sound_of(clip)
    if why_not:
        typer.echo(why_not, err=True)
    player = Player(buffer_s, sound)
    with screen(Console()) as shows:
        return watch(lambda: made(player), player, shows, stop)


def film_kind(path: Path) -> FilmKind:
    """Returns the kind of film that a file's name asks for."""
    try:
        return kind_of(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def speech(audio: Path | None, text: str | None, voice: str) -> AudioClip | SpokenText:
    """Reads a sound file, or has a text spoken; the decoders say nothing by themselves."""
    if text is not None and audio is None:
        return spoken(text, voice)
    if audio is None or text is not None:
        raise typer.BadParameter("say what: --audio FILE or --say TEXT")
    with silent_libraries():
        return read_audio(audio)


def write_frame(folder: Path, frame: Frame) -> None:
    """Writes a frame to a file that its index names."""
    (folder / f"{frame.index:06d}.{SUFFIXES[frame.encoding]}").write_bytes(frame.data)


def show_warnings(warnings: Iterable[ServerWarning]) -> None:
    """Prints what the server warned of."""
    for warning in warnings:
        typer.echo(f"warning: {warning.message}", err=True)


def summary(recording: Recording) -> str:
    """Says how a film came, in a line."""
    return (
        f"{recording.frames} frames, "
        f"the first after {1000 * recording.first_frame_s:.0f} ms, "
        f"playable after {1000 * recording.playable_latency_s:.0f} ms, "
        f"{recording.realtime_factor:.2f} x real time"
    )
