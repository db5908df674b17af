"""The licences of what is installed: writes docs/licences.md, or says which may not be there.

pip-licenses --format=json --from=mixed --python .venv/gateway/bin/python > licences.json
python -m tests.reports.licences licences.json
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.reports import markdown

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0"),
    *("MIT-CMU", "PSF-2.0", "Zlib"),
}
"""By their names of SPDX: whoever passes the program on has to name them, and no more."""
CALLED = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
}
"""What packages call them in words of their own."""
OWN = "echomimic-server"
HEADER = ("package", "version", "licence")


EXCEPTIONS = {
    "av": ("GPL-2.0-or-later", "extra `mp4`; calls itself BSD, and its wheels hold x264"),
    "espeakng-loader": ("GPL-3.0-or-later", "extra `voice`; does not say, and holds espeak-ng"),
    "pi-heif": ("LGPL-3.0-only", "extra `heic`; its wheels hold libheif and libde265"),
    "soxr": ("LGPL-2.1-or-later", "a library by itself, unchanged, that anybody may replace"),
    "tqdm": ("MPL-2.0 AND MIT", "unchanged; what is changed of it would have to be shown"),
}
"""Packages with licences that ask for more, or do not say: what they are, and why they are here."""

EXPLANATION = """What `make .venv/gateway/ready` installs, by what each package says of itself.
`make licences` fails where a package has a licence that is not known here, or that asks for more
than to be named: those that do all the same have their reason below. An image that is passed on
holds these, and what the Debian below it holds."""


class Package(NamedTuple):
    """What pip-licenses tells of one."""

    name: str
    version: str
    licence: str

    @property
    def key(self) -> str:
        """Its name as package indexes compare it."""
        return re.sub(r"[-_.]+", "-", self.name).lower()


def read(text: str) -> list[Package]:
    """Returns the packages in the JSON of pip-licenses, but for our own."""
    found = [Package(each["Name"], each["Version"], each["License"]) for each in json.loads(text)]
    return sorted((each for each in found if each.key != OWN), key=lambda each: each.key)


def allowed(licence: str) -> bool:
    """Tells whether a licence, or an expression of several, asks for no more than to be named."""
    if licence in CALLED:
        return True
    parts = [any(_named(each) for each in part.split(" OR ")) for part in licence.split(" AND ")]
    return all(parts)


def _named(licence: str) -> bool:
    bare = licence.strip(" ()")
    return CALLED.get(bare, bare) in ALLOWED


def problems(packages: list[Package]) -> Iterator[str]:
    """Yields a line for each package that may not be there, and each exception that is none."""
    for package in packages:
        if package.key not in EXCEPTIONS and not allowed(package.licence):
            yield f"{package.name} {package.version} has the licence {package.licence}"
    for name in EXCEPTIONS.keys() - {package.key for package in packages}:
        yield f"{name} is an exception, and is not installed"


def page(packages: list[Package]) -> tuple[str, ...]:
    """Returns the parts of the page."""
    reasons = [(name, *about) for name, about in EXCEPTIONS.items()]
    exceptions = markdown.table(("package", "licence", "why it is there"), reasons)
    rows = [(package.name, package.version, _licence(package)) for package in packages]
    return "Licences", EXPLANATION, exceptions, markdown.table(HEADER, rows)


def _licence(package: Package) -> str:
    known, _ = EXCEPTIONS.get(package.key, ("", ""))
    return known or CALLED.get(package.licence, package.licence)


def main() -> None:
    packages = read(Path(sys.argv[1]).read_text())
    if found := list(problems(packages)):
        sys.exit("\n".join(found))
    markdown.write("licences.md", "licences", *page(packages))


if __name__ == "__main__":
    main()
