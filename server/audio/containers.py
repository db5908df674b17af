"""Files of sound sent where PCM belongs, told by how they begin.

Whatever is refused matches 46 bits or more, so that no PCM is taken for a file: where a format has
no mark so long, as MP3 and AAC without tags, several frames must follow each other.
"""

import re
import struct
from collections.abc import Callable

from server.errors import InvalidFieldError

LOOKED_AT_BYTES = 4096
FRAMES = 3
"""So many frames of MP3 or AAC in a row are no coincidence."""

_MARKS: tuple[tuple[str, bytes], ...] = (
    ("a WAV file", rb"(RIFF|RIFX|RF64|BW64).{4}WAVE"),
    ("a Wave64 file", rb"riff\x2e\x91\xcf\x11"),
    ("an AVI file", rb"RIFF.{4}AVI "),
    ("an AIFF file", rb"FORM.{4}AIF[FC]"),
    ("a CAF file", rb"caff\x00[\x01\x02]\x00\x00"),
    ("an AU file", rb"\.snd\x00\x00[\x00-\x0f].{5}\x00\x00\x00[\x01-\x1f]"),
    ("an Ogg file", rb"OggS\x00[\x02\x06]\x00{8}"),
    ("a FLAC file", rb"fLaC[\x00\x80]\x00\x00\x22"),
    ("an MP4 or M4A file", rb"\x00\x00[\x00-\x03].ftyp"),
    ("a QuickTime file", rb"\x00\x00\x00\x08wide.{4}mdat|\x00.{3}moov\x00\x00\x00[lt](mvhd|cmov)"),
    ("a WebM or Matroska file", rb"\x1aE\xdf\xa3.{1,40}\x42\x82.(webm|matroska)"),
    ("an AMR file", rb"#!AMR(-WB)?(_MC1\.0)?\n"),
    ("a WMA file", rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),
    ("a MIDI file", rb"MThd\x00\x00\x00\x06"),
    ("an MP3 file", rb"ID3[\x02-\x04]\x00[\x00\x10\x20\x40\x60\x80\xa0\xc0\xe0][\x00-\x7f]{4}"),
)
_CONTAINERS = tuple((name, re.compile(mark, re.DOTALL)) for name, mark in _MARKS)
_WAV_CODES = {1: "PCM", 3: "float", 6: "A-law", 7: "mu-law"}
_WAV_EXTENSIBLE = 0xFFFE

# MPEG audio: version 3 is MPEG-1, 2 is MPEG-2, 0 is MPEG-2.5; layer 3 is I, 2 is II, 1 is III.
_MPEG1_KBPS = {
    3: (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    2: (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    1: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_MPEG2_LAYER1_KBPS = (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256)
_MPEG2_KBPS = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MPEG1_HZ = (44_100, 48_000, 32_000)


class FirstBytes:
    """Watches how an utterance begins, in whatever pieces it comes."""

    def __init__(self) -> None:
        self._seen = b""

    def push(self, data: bytes, *, field: str) -> None:
        """Looks at more bytes, as long as they belong to the beginning.

        Raises:
            InvalidFieldError: they are a file's.
        """
        if len(self._seen) < LOOKED_AT_BYTES:
            self._seen += data[: LOOKED_AT_BYTES - len(self._seen)]
            refuse_container(self._seen, field)


def refuse_container(data: bytes, field: str) -> None:
    """Refuses what begins like a file of sound.

    Args:
        data: the first bytes; more than LOOKED_AT_BYTES tell no more.
        field: that holds them.

    Raises:
        InvalidFieldError: names the kind of file and the remedy.
    """
    data = data[:LOOKED_AT_BYTES]
    name = container_of(data)
    if name is None:
        return
    remedy = "send its decoded samples; the client's `read_audio` reads files"
    samples = _wav_samples(data)
    if samples is not None:
        remedy = f"its samples, {samples}: send them alone, or read it with `read_audio`"
    raise InvalidFieldError(field, f"holds {name}, not PCM; {remedy}")


def container_of(data: bytes) -> str | None:
    """Returns what kind of file begins like this, with its article, or None."""
    for name, mark in _CONTAINERS:
        if mark.match(data):
            return name
    if _frames_follow(data, _mpeg_frame):
        return "an MP3 file"
    if _frames_follow(data, _aac_frame):
        return "an AAC file"
    return None


def _wav_samples(data: bytes) -> str | None:
    """Returns where a WAV's samples begin and what they are, if the bytes reach so far."""
    if data[:4] not in (b"RIFF", b"RF64", b"BW64") or data[8:12] != b"WAVE":
        return None
    at, kind = 12, None
    while at + 8 <= len(data):
        chunk, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8
        if chunk == b"data":
            return kind and f"{kind}, begin at byte {at}"
        if chunk == b"fmt " and at + 16 <= len(data):
            code, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at)
            if code == _WAV_EXTENSIBLE and at + 26 <= len(data):
                (code,) = struct.unpack_from("<H", data, at + 24)
            encoding = _WAV_CODES.get(code, f"of code {code}")
            kind = f"{bits}-bit {encoding} at {rate} Hz on {channels} channel(s)"
        at += size + size % 2
    return None


Frame = tuple[int, int]
"""Its length in bytes, and what all frames of a file share."""


def _frames_follow(data: bytes, read: Callable[[bytes, int], Frame | None]) -> bool:
    """Tells whether frames of one kind follow each other from the first byte on."""
    at, kinds = 0, set[int]()
    for _ in range(FRAMES):
        frame = read(data, at)
        if frame is None:
            return False
        at += frame[0]
        kinds.add(frame[1])
    return len(kinds) == 1


def _mpeg_frame(data: bytes, at: int) -> Frame | None:
    """Reads an MPEG audio frame's header: 11 bits of sync, version, layer, bit rate, rate."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] < 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bitrate, rate, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer == 0 or bitrate in (0, 15) or rate == 3:
        return None
    hertz = _MPEG1_HZ[rate] >> {3: 0, 2: 1, 0: 2}[version]
    bps = 1000 * _kbps(version, layer)[bitrate]
    if layer == 3:
        length = (12 * bps // hertz + padding) * 4
    else:
        length = (72 if layer == 1 and version != 3 else 144) * bps // hertz + padding
    return length, version << 4 | layer << 2 | rate


def _kbps(version: int, layer: int) -> tuple[int, ...]:
    if version == 3:
        return _MPEG1_KBPS[layer]
    return _MPEG2_LAYER1_KBPS if layer == 3 else _MPEG2_KBPS


def _aac_frame(data: bytes, at: int) -> Frame | None:
    """Reads an ADTS header: 12 bits of sync, version, layer 0, profile, rate, channels, length."""
    if len(data) < at + 7 or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    length = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if data[at + 2] >> 2 & 15 > 12 or length < 7:
        return None
    return length, data[at + 1] << 16 | data[at + 2] << 8 | data[at + 3] & 0xF0
