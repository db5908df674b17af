"""What happens to Triton: it is killed, stands still, has no memory, or is the wrong one."""

import shutil
import signal
import time
from pathlib import Path

from server.manifest import FILE, read_manifest
from tests.chaos.history import Client
from tests.chaos.scene import Row, Scene, messages, scene
from tests.support.gateway_process import gateway, triton_url
from tests.support.paths import TINY_REPOSITORY
from tests.support.short_backend import ENVIRONMENT, PLENTY, leave_room, shorten

TRITON, STUB = "tritonserver", "denoiser_0_0"


def _signalled(it: Scene, fault: str, victim: str, number: signal.Signals) -> Row:
    with it.row(fault) as row:
        (process,) = it.running.processes(victim)
        it.disturb(row, lambda: process.send_signal(number))
    return row


def triton_is_killed(it: Scene) -> Row:
    return _signalled(it, "kill -9 of Triton", TRITON, signal.SIGKILL)


def triton_is_stopped(it: Scene) -> Row:
    return _signalled(it, "SIGSTOP of Triton", TRITON, signal.SIGSTOP)


def stub_is_killed(it: Scene) -> Row:
    return _signalled(it, "kill -9 of the denoiser's stub", STUB, signal.SIGKILL)


def stub_is_stopped(it: Scene) -> Row:
    return _signalled(it, "SIGSTOP of the denoiser's stub", STUB, signal.SIGSTOP)


def triton_is_of_another_checkpoint(it: Scene, folder: Path) -> Row:
    """A second gateway, of other models, is pointed at this one's Triton."""
    repository = folder / "models"
    shutil.copytree(TINY_REPOSITORY, repository)
    manifest = repository / FILE
    digest = read_manifest(TINY_REPOSITORY).checkpoint_digest
    manifest.write_text(manifest.read_text().replace(digest, "another"))
    words = (f"--triton-url={triton_url(it.running)}",)
    options = {"repository": repository, "begun": "triton is refused"}
    with it.row("a Triton of another checkpoint") as row, gateway(folder, *words, **options) as bad:
        since_s = time.monotonic()
        client = Client(bad.stub)
        client.send(*messages(1.0))
        it.judge(row, client.finish(), since_s, "ENGINE_UNAVAILABLE")
        row.lost = "nothing that was taken"
    return row


def one_of_two_tritons_is_killed(it: Scene, folder: Path) -> Row:
    """A second gateway uses this one's Triton, and that of a third, which is killed."""
    owner_folder, folder = folder / "owner", folder / "user"
    for each in (owner_folder, folder):
        each.mkdir()
    with gateway(owner_folder) as owner:
        urls = f"--triton-url={triton_url(it.running)},{triton_url(owner)}"
        with scene(folder, urls) as user, user.row("kill -9 of one of two Tritons") as row:
            (process,) = owner.processes(TRITON)
            owner.process.send_signal(signal.SIGSTOP)
            user.disturb(row, process.kill)
    return row


def triton_has_no_memory(folder: Path) -> Row:
    """Triton's denoiser fails as one whose GPU is full does."""
    models = folder / "models"
    shutil.copytree(TINY_REPOSITORY, models)
    shorten(models, "denoiser")
    # A trial that finds no room would have Triton replaced.
    words = ("--health-interval-s=600",)
    with (
        scene(folder, *words, repository=models, variables=ENVIRONMENT) as it,
        it.row("a Triton out of memory") as row,
    ):
        it.disturb(row, lambda: leave_room(models, 0), "OUT_OF_MEMORY", loses=True)
        leave_room(models, PLENTY)
    return row
