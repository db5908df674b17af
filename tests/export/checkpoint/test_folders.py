"""Checkpoints where download tools put them: in caches, one folder down, half finished."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from export.__main__ import app
from export.checkpoint import layout
from export.checkpoint.errors import CheckpointError
from export.checkpoint.folders import MODELSCOPE_PARTS, PARTS
from export.checkpoint.inspection import check
from export.checkpoint.layout import Checkpoint
from export.checkpoint.published import FORMS, Form, make_published
from server.triton.contract import Variant

AUDIO = layout.AUDIO_ENCODERS["flash"]
FLASH = layout.FLASH_DENOISER.parent
REVISION, OLDER = "0123abcd" * 5, "feed" * 10
REPOSITORIES = {
    layout.BASE: "alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP",
    AUDIO: "TencentGameMate/chinese-wav2vec2-base",
    FLASH: "BadToBest/EchoMimicV3",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    make_published(root, seed=0, variants=["flash"])
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "checkpoint"))


def move(root: Path, source: Path, target: Path) -> None:
    (root / target).parent.mkdir(parents=True, exist_ok=True)
    (root / source).rename(root / target)


def as_cached(root: Path, folder: Path, hub: Path = Path()) -> Path:
    """Moves a folder into Hugging Face's cache: blobs, and links to them in a snapshot."""
    owner, name = REPOSITORIES[folder].split("/")
    cache = root / hub / f"models--{owner}--{name}"
    inside = folder if folder == FLASH else Path()
    for file in [path for path in (root / folder).rglob("*") if path.is_file()]:
        blob = cache / "blobs" / str(abs(hash(str(file))))
        link = cache / "snapshots" / REVISION / inside / file.relative_to(root / folder)
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        file.rename(blob)
        link.symlink_to(blob)
    shutil.rmtree(root / folder)
    return cache


def in_the_cache(root: Path, hub: Path = Path()) -> None:
    for folder in REPOSITORIES:
        as_cached(root, folder, hub)


def two_revisions(root: Path) -> None:
    cache = as_cached(root, layout.BASE)
    (cache / "snapshots" / OLDER).mkdir()
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(REVISION)


def linked(root: Path) -> None:
    move(root, layout.BASE, Path("elsewhere", "wan"))
    (root / layout.BASE).symlink_to(root / "elsewhere" / "wan")


def by_publisher(root: Path) -> None:
    for folder, repository in REPOSITORIES.items():
        inside = folder if folder == FLASH else Path()
        move(root, folder, Path(repository) / inside)


def by_modelscope(root: Path, models: Path = Path()) -> None:
    by_publisher(root)
    base = REPOSITORIES[layout.BASE]
    move(root, Path(base), Path(base.replace(".", "___")))
    if models.parts:
        for repository in REPOSITORIES.values():
            owner = repository.split("/")[0]
            move(root, Path(owner), models / owner)


def packed_on_a_mac(root: Path) -> None:
    for folder in REPOSITORIES:
        (root / "__MACOSX" / folder).mkdir(parents=True)
        (root / "__MACOSX" / folder / "._config.json").touch()
        move(root, folder, Path("unpacked") / folder)


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "as it is": lambda _: None,
    "linked": linked,
    "by publisher": by_publisher,
    "modelscope": by_modelscope,
    "modelscope's models": lambda root: by_modelscope(root, Path("models")),
    "packed on a mac": packed_on_a_mac,
    "a folder of any name": lambda root: move(root, FLASH, Path("em3") / FLASH),
    "twice the name": lambda root: (
        move(root, FLASH, Path("weights")) or move(root, Path("weights"), FLASH / FLASH)
    ),
    "in the cache": in_the_cache,
    "in the cache's parent": lambda root: in_the_cache(root, Path("hub")),
    "two revisions": two_revisions,
}


@pytest.mark.parametrize("form", LAYOUTS)
def test_folders_are_found_where_download_tools_put_them(made: Path, root: Path, form: str) -> None:
    LAYOUTS[form](root)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert result.exit_code == 0, result.output
    # Where a file lies is no part of what it is.
    assert Checkpoint(root).digest() == Checkpoint(made).digest()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variant", ["flash", "preview"])
def test_a_published_layout_is_whole_however_it_is_packed(
    tmp_path: Path, variant: Variant, form: Form
) -> None:
    make_published(tmp_path, seed=0, variants=[variant], form=form)
    assert Checkpoint(tmp_path).variant == variant
    check(Checkpoint(tmp_path))
    plain = make_plain(tmp_path, variant)
    for path in (layout.VAE, layout.TEXT_ENCODER, layout.IMAGE_ENCODER):
        actual = Checkpoint(tmp_path).weights(path).tensors()
        expected = Checkpoint(plain).weights(path).tensors()
        assert actual.keys() == expected.keys()
        assert all(actual[key].equal(expected[key]) for key in expected)


def make_plain(folder: Path, variant: Variant) -> Path:
    make_published(folder / "plain", seed=0, variants=[variant])
    return folder / "plain"


def test_both_variants_lie_beside_each_other_unless_one_is_asked_for(tmp_path: Path) -> None:
    arguments = ["make-tiny", "--as-published", str(tmp_path)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    for variant in ("flash", "preview"):
        result = CliRunner().invoke(app, ["inspect", str(tmp_path), "--variant", variant])
        assert f"variant {variant}" in result.stdout, result.output
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert "--variant chooses" in result.stderr
    one = tmp_path / "one"
    CliRunner().invoke(app, ["make-tiny", "--as-published", str(one), "--variant", "preview"])
    assert Checkpoint(one).variant == "preview"
    assert not (one / FLASH).exists()


@pytest.mark.parametrize(
    "arguments", [["--packed", "zip", "--as-published"], ["--packed", "shards"]]
)
def test_what_cannot_be_packed_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["make-tiny", str(tmp_path / "out"), *arguments])
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_twice_is_not_guessed(root: Path) -> None:
    for place in ("first", "second"):
        shutil.copytree(root / FLASH, root / place / FLASH)
    shutil.rmtree(root / FLASH)
    with pytest.raises(CheckpointError, match="several times") as caught:
        _ = Checkpoint(root).variant
    for place in ("first", "second"):
        assert str(root / place / FLASH) in str(caught.value)


def beside(root: Path) -> Path:
    (root / layout.VAE).rename(part := root / f"{layout.VAE}.incomplete")
    return part


def in_the_download_folder(root: Path) -> Path:
    (root / layout.BASE / PARTS).mkdir(parents=True)
    (root / layout.VAE).rename(part := root / layout.BASE / PARTS / "aGFzaA=.incomplete")
    return part


def in_the_download_folder_below(root: Path) -> Path:
    for folder in REPOSITORIES:
        move(root, folder, Path("below") / folder)
    (root / "below" / layout.BASE / PARTS).mkdir(parents=True)
    part = root / "below" / layout.BASE / PARTS / "aGFzaA=.incomplete"
    (root / "below" / layout.VAE).rename(part)
    return part


def among_the_blobs(root: Path) -> Path:
    cache = as_cached(root, layout.BASE)
    (cache / "snapshots" / REVISION / layout.VAE.name).unlink()
    (part := cache / "blobs" / "0123.incomplete").write_bytes(b"half")
    return part


def by_firefox(root: Path) -> Path:
    (root / layout.VAE).rename(part := root / layout.BASE / "Wan2.1_VAE.abCD12.pth.part")
    return part


def by_safari(root: Path) -> Path:
    (bundle := root / f"{layout.VAE}.download").mkdir()
    (root / layout.VAE).rename(bundle / layout.VAE.name)
    return bundle


def by_modelscope_in_part(root: Path) -> Path:
    (root / layout.BASE / MODELSCOPE_PARTS).mkdir()
    (root / layout.VAE).rename(part := root / layout.BASE / MODELSCOPE_PARTS / layout.VAE.name)
    return part


def broken_link(root: Path) -> Path:
    (root / layout.VAE).unlink()
    (root / layout.VAE).symlink_to(root / "blob")
    return root / layout.VAE


def allocated(root: Path) -> Path:
    (part := root / f"{layout.VAE}.aria2").write_bytes(b"control")
    return part


def pointer(root: Path) -> Path:
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{'0' * 64}", "size 508")
    (root / layout.VAE).write_text("\n".join(lines) + "\n")
    return root / layout.VAE


def cut_off(root: Path) -> Path:
    data = (root / layout.VAE).read_bytes()
    (root / layout.VAE).write_bytes(data[: len(data) // 2])
    return root / layout.VAE


PARTIAL: dict[Callable[[Path], Path], str] = {
    beside: "unfinished download",
    in_the_download_folder: "unfinished download",
    in_the_download_folder_below: "unfinished download",
    among_the_blobs: "unfinished download",
    by_firefox: "unfinished download",
    by_safari: "unfinished download",
    by_modelscope_in_part: "unfinished download",
    broken_link: "a link to a file that is not there",
    allocated: "unfinished download",
    pointer: "is a Git LFS pointer",
    cut_off: "cannot be read",
}


@pytest.mark.parametrize("damage", PARTIAL)
def test_half_a_download_is_one_line_that_says_what_to_do(
    root: Path, damage: Callable[[Path], Path]
) -> None:
    named = damage(root)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert str(named) in line
    assert PARTIAL[damage] in line
    assert "`hf download alibaba-pai/Wan2.1-Fun-V1.1-1.3B-InP Wan2.1_VAE.pth --local-dir" in line


def test_a_download_of_another_file_is_not_taken_for_it(root: Path) -> None:
    (root / layout.VAE).unlink()
    others = root / layout.BASE / PARTS / "google/umt5-xxl"
    others.mkdir(parents=True)
    (others / "aGFzaA=.incomplete").write_bytes(b"half")
    (root / layout.BASE / "Wan2.1_VAE_small.pth.part").write_bytes(b"half")
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert "Wan2.1_VAE.pth is missing, whole, in shards or pickled: `hf download" in result.stderr


def test_a_folder_with_spaces_is_quoted(root: Path) -> None:
    root = root.rename(root.with_name("my models"))
    (root / layout.VAE).unlink()
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert f"--local-dir '{root / layout.BASE}'` fetches it" in result.stderr


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "mistyped")])
    assert result.exit_code == 2
    assert "hf download" not in result.stderr


def test_a_folder_in_brackets_is_shown_as_it_is(root: Path) -> None:
    for folder in REPOSITORIES:
        move(root, folder, Path("[old]") / folder)
    result = CliRunner().invoke(app, ["inspect", str(root)])
    assert result.stdout.count("[old]/") == len(Checkpoint(root).networks)
