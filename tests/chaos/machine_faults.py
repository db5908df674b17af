"""What happens to a gateway's own process, and to the machine that it runs on."""

import datetime
import shutil
import subprocess
import threading
import time
from pathlib import Path

import grpc
import psutil
from echomimic.v1 import avatar_service_pb2 as pb
from echomimic.v1 import avatar_service_pb2_grpc as pb_grpc

from server.triton.workdir import SHARED_MEMORY
from tests.chaos.history import Client
from tests.chaos.model import violations
from tests.chaos.scene import Row, Scene, messages, region_names, scene
from tests.support.certificates import Authority
from tests.support.gateway_process import free_port, gateway, until

STOPPED_S = 5.0
STEP_S = 3 * 3600
SHARED_BYTES, DISK_BYTES = 64 * 2**20, 8 * 2**20
CLOCK = Path(__file__).with_name("clock.c")


def gateway_is_stopped(it: Scene) -> Row:
    """For some seconds; its Triton and its clients run on."""
    process = psutil.Process(it.running.process.pid)

    def stop() -> None:
        process.suspend()
        threading.Timer(STOPPED_S, process.resume).start()

    with it.row(f"SIGSTOP of a gateway, for {STOPPED_S:g} s") as row:
        it.disturb(row, stop)
    return row


def gateway_is_killed(folder: Path) -> Row:
    """Another gateway is started in its place, and removes what it left in shared memory."""
    port = free_port()
    row = Row("kill -9 of a gateway")
    with gateway(folder, port=port) as victim:
        it = Scene.of(victim)
        children = psutil.Process(victim.process.pid).children(recursive=True)
        names = region_names(victim, folder)
        it.disturb(row, victim.process.kill, "UNAVAILABLE", loses=True)
    since_s = time.monotonic()
    with scene(folder, port=port) as replacement:
        row.recovered_s = time.monotonic() - since_s
        row.expect(replacement.undisturbed == it.undisturbed, "the next stream has other frames")
        left = [child for child in children if child.is_running()]
        regions = [path for name in names for path in SHARED_MEMORY.glob(name)]
        if left or regions:
            row.leaked = f"{len(left)} processes, {len(regions)} regions"
            row.problems.append(f"leaked {row.leaked}")
    return row


def shared_memory_is_full(folder: Path) -> Row:
    """In a /dev/shm of its own, which somebody else fills."""
    within = _mounted("/dev/shm", SHARED_BYTES)
    with scene(folder, within=within) as it, it.row("/dev/shm full") as row:
        filler = Path(f"/proc/{it.running.process.pid}/root/dev/shm/filler")
        it.disturb(row, lambda: fill(filler))
        filler.unlink()
    return row


def disk_is_full(folder: Path) -> Row:
    """Where logs and Triton's directory are; then Triton is killed, too."""
    place = folder / "disk"
    place.mkdir()
    within = _mounted(str(place), DISK_BYTES)
    words = (f"--triton-log={place / 'triton.log'}",)
    with (
        scene(folder, *words, within=within) as it,
        it.row("disk full, then kill -9 of Triton") as row,
    ):
        filler = Path(f"/proc/{it.running.process.pid}/root{place}/filler")
        (triton,) = it.running.processes("tritonserver")

        def harm() -> None:
            fill(filler)
            triton.kill()

        it.disturb(row, harm)
        filler.unlink()
    return row


def clock_steps(folder: Path) -> Row:
    """The time of day leaps ahead and back within a stream, as after a suspended machine."""
    shift = folder / "shift"
    shift.write_text("0")
    library = folder / "clock.so"
    compiler = shutil.which("cc")
    if compiler is None:
        return Row("clock step", saw="not run: there is no compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True)
    variables = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
    words = ("--avatar-lifetime-s=60",)
    with (
        scene(folder, *words, variables=variables) as it,
        it.row(f"clock step of {STEP_S // 3600} h, back and forth") as row,
    ):

        def step() -> None:
            for shifted_s in (-STEP_S, STEP_S, 0):
                shift.write_text(str(shifted_s))
                time.sleep(0.2)

        it.disturb(row, step)
    return row


def certificate_expires(folder: Path) -> Row:
    """A server whose certificate has expired is given another one while it runs."""
    authority = Authority()
    files = authority.issue("127.0.0.1", -datetime.timedelta(minutes=1)).write(folder, "server")
    words = (f"--tls-certificate={files[0]}", f"--tls-key={files[1]}")
    row = Row("an expired certificate")
    with gateway(folder, *words, begun="listening") as running:
        credentials = grpc.ssl_channel_credentials(authority.certificate)
        refused = _asked(running.address, credentials)
        row.saw = f"{refused} from clients that check it, before and until it is replaced"
        row.expect(refused == "UNAVAILABLE", f"the client was told {refused}")
        since_s = time.monotonic()
        authority.issue("127.0.0.1").write(folder, "server")
        until(lambda: _asked(running.address, credentials) == "OK")
        with grpc.secure_channel(running.address, credentials) as channel:
            client = Client(pb_grpc.AvatarServiceStub(channel))
            client.send(*messages(1.0))
            row.problems += violations(client.finish())
        row.recovered_s = time.monotonic() - since_s
    return row


def _asked(address: str, credentials: grpc.ChannelCredentials) -> str:
    with grpc.secure_channel(address, credentials) as channel:
        stub = pb_grpc.AvatarServiceStub(channel)
        try:
            stub.GetServerInfo(pb.GetServerInfoRequest(), timeout=10)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"


def _mounted(place: str, size_bytes: int) -> list[str]:
    """Returns a command that runs another one with a file system of its own at a place."""
    mount = f'mount -t tmpfs -o size={size_bytes},mode=1777 tmpfs "{place}" && exec "$@"'
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]


def fill(file: Path) -> None:
    """Writes a file until there is no room left."""
    with file.open("wb", buffering=0) as full:
        try:
            while True:
                full.write(bytes(1 << 16))
        except OSError:
            return
