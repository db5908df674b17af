"""The commands by name."""

from collections.abc import Callable

import typer

from export.cli.demo_media import demo_media
from export.cli.errors import one_line_errors
from export.cli.inspect import inspect
from export.cli.make_hollow import make_hollow
from export.cli.make_tiny import make_tiny
from export.cli.onnx import onnx
from export.cli.tensorrt import tensorrt
from export.cli.train_demo import train_demo
from export.cli.verify import verify

app = typer.Typer(
    help="Turns EchoMimic V3 checkpoints into a Triton model repository.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

COMMANDS: dict[str, Callable[..., None]] = {
    "make-tiny": make_tiny,
    "make-hollow": make_hollow,
    "train-demo": train_demo,
    "demo-media": demo_media,
    "inspect": inspect,
    "onnx": onnx,
    "tensorrt": tensorrt,
    "verify": verify,
}

for name, command in COMMANDS.items():
    app.command(name)(one_line_errors()(command))
