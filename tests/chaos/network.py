"""A connection whose other end vanishes without a word: nothing is passed on, nothing is closed."""

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

PIECE_BYTES = 1 << 16


class Wire:
    """Passes on what two ends of connections say, until it is cut."""

    def __init__(self, address: str) -> None:
        """Listens on a free port; what comes there goes to ``address``."""
        self._host, _, self._port = address.rpartition(":")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._is_cut = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def cut(self) -> None:
        """Passes on nothing from now on; both ends go on believing that they are connected."""
        self._is_cut.set()

    def close(self) -> None:
        """Closes all of it."""
        self._is_cut.set()
        for each in (self._listener, *self._sockets):
            each.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._host, int(self._port)))
                self._sockets += [near, far]
                threading.Thread(target=self._pass_on, args=(near, far), daemon=True).start()

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError), selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while not self._is_cut.is_set():
                for key, _ in ready.select(timeout=0.1):
                    data = key.fileobj.recv(PIECE_BYTES)  # pyright: ignore[reportAttributeAccessIssue]
                    if not data:
                        near.close()
                        far.close()
                        return
                    key.data.sendall(data)


@contextmanager
def wire(address: str) -> Iterator[Wire]:
    """A wire to an address."""
    with closing(Wire(address)) as it:
        yield it
