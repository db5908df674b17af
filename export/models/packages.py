"""Files that other people's packages ship: networks which are no part of a checkpoint."""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from export.errors import ExportError

REQUIREMENTS = "export/models/packages.txt"


class PackageMissingError(ExportError):
    """A package that ships a network is not installed; the text names the remedy."""


def packaged(package: str, file: str) -> Path:
    """Returns where a file of a package lies, which is not imported.

    Args:
        package: its name on PyPI.
        file: its path below the packages' common folder.

    Raises:
        PackageMissingError: it is not installed.
    """
    try:
        return Path(str(distribution(package).locate_file(file)))
    except PackageNotFoundError as error:
        raise PackageMissingError(
            f"the package {package} is not installed; "
            f"`pip install --no-deps -r {REQUIREMENTS}` installs it"
        ) from error
