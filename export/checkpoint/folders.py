"""Where the folders of a checkpoint lie: as the README has them, or as download tools leave them.

    NAME                                     the usual place
    ANY/NAME                                 one folder down, as under the name of who published it
    NAME with ___ for each dot               ModelScope's cache, likewise one folder down
    models--OWNER--REPO/snapshots/REVISION   Hugging Face's cache, or below `hub/`

Only names that were published count. Where several folders could be meant, none is taken.
"""

from collections.abc import Iterator
from pathlib import Path

from export.checkpoint.errors import CheckpointError

UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".tmp", ".aria2")
"""How the names of unfinished downloads end."""
PARTS = Path(".cache/huggingface/download")
"""Where `hf download --local-dir` keeps what it has not finished."""


def find_folder(root: Path, name: Path, repository: str, inside: Path) -> Path | None:
    """Returns a published folder below the root of a checkpoint, or None.

    Args:
        root: of the checkpoint.
        name: of the folder in the usual place, relative to the root.
        repository: the one it was published in, as ``owner/name``.
        inside: where it is in that repository.

    Raises:
        CheckpointError: there are several, none of them in the usual place.
    """
    if _has_files(root / name):
        return root / name
    found = {folder.resolve(): folder for folder in _elsewhere(root, name, repository, inside)}
    if len(found) > 1:
        places = " and ".join(str(folder) for folder in found.values())
        raise CheckpointError(f"{root} holds {name} several times, {places}: keep one")
    return next(iter(found.values()), None)


def _elsewhere(root: Path, name: Path, repository: str, inside: Path) -> Iterator[Path]:
    names = dict.fromkeys((str(name), str(name).replace(".", "___")))
    folders = [root, *sorted(_visible(root))]
    yield from (folder / each for folder in folders for each in names if _has_files(folder / each))
    cached = "models--" + repository.replace("/", "--")
    for cache in (root / cached, root / "hub" / cached):
        yield from (each / inside for each in _snapshots(cache) if _has_files(each / inside))


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(not each.is_dir() for each in folder.iterdir())


def _visible(root: Path) -> Iterator[Path]:
    if root.is_dir():
        yield from (each for each in root.iterdir() if each.is_dir() and each.name[0] != ".")


def _snapshots(cache: Path) -> list[Path]:
    """Returns the revision that was asked for last, or all if it is not noted."""
    current = cache / "refs" / "main"
    if current.is_file() and (named := cache / "snapshots" / current.read_text().strip()).is_dir():
        return [named]
    return sorted(path for path in (cache / "snapshots").glob("*") if path.is_dir())


def unfinished(file: Path, downloads: Path) -> str:
    """Returns what is known of a missing file's download, to be added to an error, or nothing.

    Args:
        file: which is missing.
        downloads: the folder that its repository is downloaded to.
    """
    if file.is_symlink():
        return " (a link to a file that is not there)"
    beside = [file.with_name(file.name + end) for end in UNFINISHED]
    below = sorted((downloads / PARTS).rglob("*.incomplete"))
    part = next((part for part in (*beside, *below) if part.is_file()), None)
    return "" if part is None else f" (an unfinished download is there, {part})"
