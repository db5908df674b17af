"""HTTP/2 byte by byte, for what gRPC's clients do not show."""

SETTINGS, PING, GOAWAY = 4, 6, 7


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of the whole connection."""
    return len(payload).to_bytes(3) + bytes([kind, 0]) + bytes(4) + payload


def frame_kinds(data: bytes) -> list[tuple[int, int]]:
    """Kind and flags of each frame."""
    kinds: list[tuple[int, int]] = []
    while len(data) >= 9:
        kinds.append((data[3], data[4]))
        data = data[9 + int.from_bytes(data[:3]) :]
    return kinds


GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, b"")
"""What a client begins with."""
