"""`python -m export`: see `--help`."""

from export.cli.app import app

if __name__ == "__main__":
    app()
