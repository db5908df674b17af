"""Servers of the standard library beside a test."""

from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import TCPServer
from threading import Thread


@contextmanager
def listening(server: TCPServer) -> Iterator[int]:
    """Serves as long as the context lasts, and no longer if it fails; gives the port."""
    with server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()
