"""`make studio`: a gateway with its page, which a browser opens."""

import os
import signal
import socket
import sys
import time
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from client.demo.gateway_process import LOOPBACK, GatewayError, running_gateway
from client.demo.media import PORTRAIT
from echomimic_client.program import one_line_errors

LOG = Path("build/studio.log")
POLL_S = 1.0
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
"""Without one of them a browser would be one of the terminal's, which shows no faces."""


def main(
    repository: Annotated[Path, typer.Option(help="Model repository to serve.")],
    triton_venv: Annotated[Path, typer.Option(help="Environment with a tritonserver.")],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the page.")] = 9000,
) -> None:
    """Serves the studio until Ctrl-C, and opens it."""
    signal.signal(signal.SIGTERM, lambda caught, _: sys.exit(128 + caught))
    url = f"http://{LOOPBACK}:{port}/"
    words = ("--http-port", str(port), "--default-portrait", str(PORTRAIT))
    with one_line_errors():
        if is_served(port):
            problem = f'port {port} is taken; choose another: make studio ARGS="--port 9001"'
            raise GatewayError(problem)
        typer.echo(f"starting the gateway, log in {LOG}", err=True)
        with running_gateway(repository, triton_venv, LOG, *words):
            typer.echo(f"{url} is the studio; Ctrl-C ends it")
            if any(map(os.environ.get, DISPLAYS)):
                webbrowser.open(url)
            while is_served(port):
                time.sleep(POLL_S)
            raise GatewayError(f"the gateway has ended; {LOG} says why")


def is_served(port: int) -> bool:
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


if __name__ == "__main__":
    typer.run(main)
