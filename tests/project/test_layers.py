"""Imports run one way: along a chunk's way through the server, and between the packages."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

ROOTS = {"server": ROOT, "export": ROOT, "client/demo": ROOT, "echomimic_client": ROOT / "client"}
"""The packages, and the folder that each is imported from."""


def within(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {
    module_name(path, root): path
    for package, root in ROOTS.items()
    for path in (root / package).rglob("*.py")
    if "backends" not in path.parts  # Programs of Triton's, in its environment.
}

SHARED = tuple(
    f"echomimic_client.{name}" for name in ("film_kinds", "films", "playback", "voice", "espeak")
)
"""What is the client's, and others use: modules that know no others of it."""

LAYERS = (
    ("server.__main__",),
    ("server.app", "server.commands"),
    ("server.origins",),
    ("server.metrics", "server.traces"),
    ("server.http",),
    ("server.api",),
    ("server.sessions",),
    ("server.animation",),
    ("server.audio", "server.pictures"),
    ("server.triton",),
    ("server.access",),
    (
        "server.arrays",
        "server.errors",
        "server.logs",
        "server.loop_lag",
        "server.manifest",
        "server.memory",
        "server.notices",
        "server.parts",
        "server.recorder",
        "server.settings",
    ),
    ("server.config_file", "server.setting_values"),
    ("server.spans", "server.triton.contract", *SHARED),
)
"""From top to bottom. Each imports from those below it only; neighbours do not know each other."""

CLIENT = {name for name in SOURCES if within(name, "echomimic_client")}
UNSHARED = CLIENT - {"echomimic_client", *SHARED}

OUR_OWN_API = {
    name
    for name in SOURCES
    if name.startswith("server.api.") and not within(name, "server.api.kserve")
}
"""KServe's messages come with Triton's client, and in `server.api.kserve` clients speak them."""

WEB = ("fastapi", "starlette", "uvicorn", "websockets")

FORBIDDEN = {
    "server": ("client", "export", "tests", "torch", *UNSHARED),
    "client": ("server", "export", "tests", "torch"),
    "echomimic_client": ("client", "server", "export", "tests", "torch"),
    **dict.fromkeys(SHARED, ("echomimic", "grpc", *UNSHARED)),
    "export": (
        "client",
        *UNSHARED,
        "server.__main__",
        "server.app",
        "server.api",
        "server.sessions",
        "tests",
    ),
    # Protobuf and gRPC end in api/, which runs no network.
    **dict.fromkeys(
        ("server.sessions", "server.animation", "server.audio", "server.pictures"),
        (*WEB, "echomimic", "google", "grpc", "prometheus_client", "tritonclient"),
    ),
    "server.api": (*WEB, "prometheus_client", "server.triton.engine"),
    # The messages are gRPC's; how they travel is not.
    "server.http": ("grpc", "prometheus_client", "server.triton.engine", "tritonclient"),
    **dict.fromkeys(OUR_OWN_API, ("server.api.kserve", "tritonclient")),
    "server.triton": (*WEB, "echomimic", "prometheus_client"),
}
"""What a package may not import besides."""

EXCEPTIONS: set[tuple[str, str]] = set()
"""Packages that still import against the rules, and what. This list only shrinks."""


def imports(path: Path) -> Iterator[str]:
    """Yields the modules that a file imports, wherever in it that is."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: imports are absolute"
            assert not node.level, f"{path}: imports are absolute"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & SOURCES.keys()
            yield from submodules or {node.module}


def layer(module: str) -> tuple[int, str]:
    """Returns the depth of the layer that a module of the server is in, and its part of it."""
    found = [
        (depth, part)
        for depth, parts in enumerate(LAYERS)
        for part in parts
        if within(module, part)
    ]
    assert found, f"{module} has no layer: say in LAYERS where it belongs"
    return max(found, key=lambda place: len(place[1]))


def runs_up(importer: str, imported: str) -> bool:
    above, below = layer(importer), layer(imported)
    return above[1] != below[1] and above[0] >= below[0]


def is_forbidden(importer: str, imported: str) -> bool:
    return any(
        within(importer, package) and within(imported, other)
        for package, others in FORBIDDEN.items()
        for other in others
    )


def against_the_rules() -> list[tuple[str, str]]:
    """Returns pairs of an importing and an imported module."""
    return [
        (importer, imported)
        for importer, path in SOURCES.items()
        for imported in imports(path)
        if is_forbidden(importer, imported)
        or (within(importer, "server") and imported in SOURCES and runs_up(importer, imported))
    ]


def excepting(importer: str, imported: str) -> set[tuple[str, str]]:
    return {
        (package, other)
        for package, other in EXCEPTIONS
        if within(importer, package) and within(imported, other)
    }


def test_imports_run_one_way() -> None:
    wrong = [f"{a} imports {b}" for a, b in against_the_rules() if not excepting(a, b)]
    assert wrong == []


def test_every_exception_is_needed() -> None:
    assert {pair for a, b in against_the_rules() for pair in excepting(a, b)} == EXCEPTIONS


def test_the_rules_tell_the_directions_apart() -> None:
    assert runs_up("server.sessions.live", "server.api.calls")
    assert runs_up("server.audio.clock", "server.pictures.face")
    assert not runs_up("server.api.calls", "server.sessions.live")
    assert not runs_up("server.settings", "server.triton.contract")
    assert is_forbidden("echomimic_client.recording", "server.pictures.encoding")
    assert not is_forbidden("export.onnx.trace", "torch")
