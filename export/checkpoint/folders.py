"""Where the folders of a checkpoint lie: as the README has them, or as download tools leave them.

    NAME                                     the usual place
    ANY/NAME                                 one folder down, as under the name of who published it
    OWNER/REPO, models/OWNER/REPO            ModelScope's cache, which has ___ for each dot
    models--OWNER--REPO/snapshots/REVISION   Hugging Face's cache, or below `hub/`

Only names that were published count. Where several folders could be meant, none is taken.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.checkpoint.errors import CheckpointError

UNFINISHED = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".tmp", ".aria2")
"""How the names of unfinished downloads end."""
PARTS = Path(".cache/huggingface/download")
"""Where `hf download --local-dir` keeps what it has not finished."""
MODELSCOPE_PARTS = "._____temp"
"""Where ModelScope does."""
NOT_A_FOLDER = "__MACOSX"
"""What macOS's zip puts beside what it packs, under the same names."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder of the layout, and where it was published.

    Attributes:
        name: its usual place, relative to the root of a checkpoint.
        repository: the one that it was published in, as ``owner/name``.
        inside: where it is in that repository.
    """

    name: Path
    repository: str
    inside: Path

    def find(self, root: Path) -> Path | None:
        """Returns where it is below the root of a checkpoint, or None.

        Raises:
            CheckpointError: there are several, none of them in the usual place.
        """
        if _has_files(root / self.name):
            return root / self.name
        found = {place.resolve(): place for place in self._places(root) if _has_files(place)}
        if len(found) > 1:
            places = " and ".join(str(place) for place in found.values())
            raise CheckpointError(f"{root} holds {self.name} several times, {places}: keep one")
        return next(iter(found.values()), None)

    def unfinished(self, root: Path, file: Path) -> Path | None:
        """Returns what a download that was not finished left of a file, or None.

        Args:
            root: of the checkpoint.
            file: the one that is missing, relative to this folder.
        """
        return next((part for part in self._parts(root, file) if part.exists()), None)

    def _places(self, root: Path) -> Iterator[Path]:
        """Yields where it may be, whether it is there or not."""
        for folder in (root, *sorted(_visible(root))):
            yield from (folder / name for name in _spellings(str(self.name)))
        for folder in (root, root / "models"):
            yield from (folder / name / self.inside for name in _spellings(self.repository))
        for cache in self._caches(root):
            yield from (revision / self.inside for revision in _revisions(cache))

    def _caches(self, root: Path) -> tuple[Path, Path]:
        cache = "models--" + self.repository.replace("/", "--")
        return root / cache, root / "hub" / cache

    def _parts(self, root: Path, file: Path) -> Iterator[Path]:
        for place in self._places(root):
            repository = place.parents[len(self.inside.parts) - 1] if self.inside.parts else place
            of_file, of_repository = place / file, self.inside / file
            # Browsers put something of their own between a name and its end.
            beside = sorted(of_file.parent.glob("*"))
            yield from (path for path in beside if _is_part(path.name, file.stem))
            yield repository / MODELSCOPE_PARTS / of_repository
            yield from sorted((repository / PARTS / of_repository.parent).glob("*.incomplete"))
        for cache in self._caches(root):
            yield from sorted((cache / "blobs").glob("*.incomplete"))


def _is_part(name: str, stem: str) -> bool:
    return name.startswith(f"{stem}.") and name.endswith(UNFINISHED)


def _spellings(name: str) -> tuple[str, ...]:
    """Returns a name as Hugging Face and as ModelScope write it."""
    return tuple(dict.fromkeys((name, name.replace(".", "___"))))


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(not each.is_dir() for each in folder.iterdir())


def _visible(root: Path) -> Iterator[Path]:
    if root.is_dir():
        folders = (each for each in root.iterdir() if each.is_dir())
        yield from (each for each in folders if each.name[0] != "." and each.name != NOT_A_FOLDER)


def _revisions(cache: Path) -> list[Path]:
    """Returns the snapshot that was asked for last, or all if it is not noted."""
    current = cache / "refs" / "main"
    if current.is_file() and (named := cache / "snapshots" / current.read_text().strip()).is_dir():
        return [named]
    return sorted(path for path in (cache / "snapshots").glob("*") if path.is_dir())
