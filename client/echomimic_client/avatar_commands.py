"""`animate avatars`: portraits that a server prepares once, and keeps."""

from pathlib import Path
from typing import Annotated

import typer

from echomimic_client.arguments import (
    ADDRESS,
    Deadline,
    Face,
    FramingOption,
    Server,
    SizeOption,
    Strict,
)
from echomimic_client.connecting import connected
from echomimic_client.one_line import one_line_errors
from echomimic_client.results import Avatar

avatars = typer.Typer(
    no_args_is_help=True, help="Portraits that a server prepares once: create, list, delete."
)


@avatars.command()
def create(
    portrait: Annotated[Path, typer.Argument(help="A picture file: head and shoulders.")],
    *,
    server: Server = ADDRESS,
    size: SizeOption = None,
    face_box: Face = None,
    framing: FramingOption = "fill",
    strict: Strict = False,
    deadline_s: Deadline = 60.0,
) -> None:
    """Has a portrait prepared, and prints the id for --avatar."""
    with one_line_errors(), connected(server) as client:
        avatar = client.create_avatar(
            portrait,
            size=size or (0, 0),
            face_box=face_box,
            framing=framing,
            strict=strict,
            deadline_s=deadline_s,
        )
    for warning in avatar.warnings:
        typer.echo(f"warning: {warning.message}", err=True)
    typer.echo(avatar.avatar_id)


@avatars.command(name="list")
def list_all(*, server: Server = ADDRESS, deadline_s: Deadline = 10.0) -> None:
    """Prints your avatars, the oldest first: id, size, and when each expires."""
    with one_line_errors(), connected(server) as client:
        for avatar in client.list_avatars(deadline_s=deadline_s):
            typer.echo(line(avatar))


@avatars.command()
def delete(
    avatar_id: Annotated[str, typer.Argument(help="Its id.")],
    *,
    server: Server = ADDRESS,
    deadline_s: Deadline = 10.0,
) -> None:
    """Has an avatar forgotten; streams that use it go on."""
    with one_line_errors(), connected(server) as client:
        client.delete_avatar(avatar_id, deadline_s=deadline_s)


def line(avatar: Avatar) -> str:
    """Says what is known of an avatar."""
    width, height = avatar.size
    return f"{avatar.avatar_id}  {width}x{height}  until {avatar.expires:%Y-%m-%d %H:%M} UTC"
