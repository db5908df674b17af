"""The real Envoy, before gateways, with the configuration of the chart."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.gateway_process import free_port, until
from tests.support.paths import ROOT

CONFIG = ROOT / "docker" / "helm" / "files" / "envoy.yaml"
ENVOY = Path(os.environ.get("ECHOMIMIC_ENVOY", Path(sys.executable).with_name("envoy")))


@contextmanager
def envoy(folder: Path, gateways: Sequence[str]) -> Iterator[str]:
    """Runs Envoy before gateways on this host; gives the address that it listens on."""
    config = yaml.safe_load(CONFIG.read_text())
    ports = [free_port() for _ in range(3)]
    listeners = config["static_resources"]["listeners"]
    for place, port in zip((config["admin"], *listeners), ports, strict=True):
        place["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": port}
    (cluster,) = config["static_resources"]["clusters"]
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
        for host, _, port in (address.rpartition(":") for address in gateways)
    ]
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [ENVOY, "--config-path", path, "--disable-hot-restart", "--concurrency", "1"]
    with (folder / "envoy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        until(lambda: process.poll() is not None or _listens(ports[1]), timeout_s=30)
        assert process.poll() is None, (folder / "envoy.log").read_text()
        yield f"127.0.0.1:{ports[1]}"
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
