"""Files that hold more than their headers say: unfinished WAVs, and several files in one.

Recorders and speech services write such files, and decoders read what the first header states.
"""

import re
import struct
from collections.abc import Iterator
from itertools import pairwise

_WAV = re.compile(rb"RIFF[\s\S]{4}WAVE")
_BEGINNINGS = (
    _WAV,
    re.compile(rb"RF64[\s\S]{4}WAVE"),
    re.compile(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb"),  # W64
    re.compile(rb"FORM[\s\S]{4}AIF[FC]"),
    re.compile(rb"caff\x00\x01\x00\x00desc"),
    re.compile(rb"\.snd\x00\x00\x00[\x18-\xff][\s\S]{4}\x00\x00\x00[\x01-\x1b]"),  # AU
    re.compile(rb"fLaC[\x00\x80]\x00\x00\x22"),
    re.compile(rb"\x00\x00\x00[\x08-\x40]ftyp"),  # MP4, M4A, MOV, 3GP
    re.compile(rb"\x1a\x45\xdf\xa3[\s\S]{1,8}\x42\x86"),  # WebM, Matroska
)
"""How files begin whose first bytes are too many to occur in sound by chance."""
_OGG_PAGE = re.compile(rb"OggS\x00([\x00-\x07])")
_OGG_BEGINS = 2
_MP3_INFO = re.compile(rb"\xff[\xe2-\xff][\s\S]{2}(?:[\s\S]{2})?\x00{9,32}(?:Xing|Info)")
"""The frame that tells an MP3's length: a header, perhaps its checksum, empty side information."""
_MP3_HAS_FRAMES, _MP3_HAS_BYTES = 1, 2
_ID3_HEADER_BYTES = 10


def parts(data: bytes) -> list[bytes]:
    """Splits what holds several sound files, one after the other, into these."""
    for beginning in _BEGINNINGS:
        if beginning.match(data):
            return _split(data, {match.start() for match in beginning.finditer(data)})
    if data.startswith(b"OggS"):
        return _split(data, {0, *_ogg_starts(data)})
    if _is_mp3(data):
        first, *later = _split(data, {0, *_mp3_starts(data)})
        return [first, *filter(_is_mp3, later)]
    return [data]


def with_wav_length(data: bytes) -> bytes:
    """Returns a WAV file whose header states the length that it has, if it stated 0.

    That is what a writer leaves that never came back to its header.
    """
    if not _WAV.match(data):
        return data
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        begin = position + 8
        if name == b"data":
            if size or _is_chunk(data, begin):
                return data
            return data[: begin - 4] + struct.pack("<I", len(data) - begin) + data[begin:]
        position = begin + size + size % 2
    return data


def _is_chunk(data: bytes, position: int) -> bool:
    """Tells whether a chunk of a WAV file that ends with the file begins here."""
    if position + 8 > len(data):
        return False
    name, size = struct.unpack_from("<4sI", data, position)
    return name.isascii() and position + 8 + size + size % 2 in (len(data), len(data) + 1)


def _split(data: bytes, starts: set[int]) -> list[bytes]:
    return [data[begin:end] for begin, end in pairwise([*sorted(starts), len(data)])]


def _ogg_starts(data: bytes) -> Iterator[int]:
    """Streams that play together begin together, so a beginning after other pages is a new file."""
    between = True
    for page in _OGG_PAGE.finditer(data):
        begins = bool(page[1][0] & _OGG_BEGINS)
        if begins and between:
            yield page.start()
        between = not begins


def _mp3_starts(data: bytes) -> Iterator[int]:
    for number, info in enumerate(_MP3_INFO.finditer(data)):
        if number:
            yield info.start()
        flags = struct.unpack_from(">I", data.ljust(info.end() + 12), info.end())[0]
        if flags & _MP3_HAS_BYTES:
            at = info.end() + 4 + 4 * (flags & _MP3_HAS_FRAMES)
            end = info.start() + struct.unpack_from(">I", data.ljust(at + 4), at)[0]
            if info.end() < end < len(data):
                yield end


def _is_mp3(data: bytes) -> bool:
    """Tells whether a frame of MP3 begins here, behind its tags."""
    position = 0
    while data[position : position + 3] == b"ID3" and position + _ID3_HEADER_BYTES <= len(data):
        size = 0
        for byte in data[position + 6 : position + _ID3_HEADER_BYTES]:
            size = size << 7 | byte & 0x7F
        position += _ID3_HEADER_BYTES + size
    head = data[position : position + 2]
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and bool(head[1] & 0x06)
