"""What a file is, by its first bytes, and what to do with one that is no portrait."""

import struct

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
AVIF_BRANDS = {b"avif", b"avis"}
TEXT_BYTES = 1024
"""How much of a file is looked at for what kind of text it is."""

CONVERT = "convert it to JPEG or PNG"
STILL = "send one of its pictures as a JPEG or PNG file"
ITSELF = "send the picture itself as a JPEG or PNG file"

OTHERS = (
    (0, b"\xff\x0a", "a JPEG XL picture", CONVERT),
    (0, b"\0\0\0\x0cJXL ", "a JPEG XL picture", CONVERT),
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000 picture", CONVERT),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", CONVERT),
    (0, b"II\xbc", "a JPEG XR picture", CONVERT),
    (0, b"8BPS", "a Photoshop file (PSD)", CONVERT),
    (0, b"8BPB", "a Photoshop file (PSB)", CONVERT),
    (0, b"gimp xcf", "a GIMP file (XCF)", CONVERT),
    (0, b"\0\0\1\0", "an icon (ICO)", CONVERT),
    (0, b"\0\0\2\0", "a cursor (CUR)", CONVERT),
    (0, b"icns", "an icon (ICNS)", CONVERT),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", CONVERT),
    (0, b"#?R", "a Radiance HDR picture", CONVERT),
    (0, b"qoif", "a QOI picture", CONVERT),
    (0, b"DDS ", "a DDS texture", CONVERT),
    (8, b"CR\2", "a camera's raw file (CR2)", CONVERT),
    (0, b"FUJIFILMCCD-RAW", "a camera's raw file (RAF)", CONVERT),
    (0, b"IIRO", "a camera's raw file (ORF)", CONVERT),
    (0, b"IIRS", "a camera's raw file (ORF)", CONVERT),
    (0, b"IIU\0", "a camera's raw file (RW2)", CONVERT),
    (0, b"FOVb", "a camera's raw file (X3F)", CONVERT),
    (4, b"ftypcrx ", "a camera's raw file (CR3)", CONVERT),
    (0, b"%PDF", "a PDF document", STILL),
    (0, b"%!PS", "a PostScript file", CONVERT),
    (4, b"ftypM4A ", "a sound file (M4A)", ITSELF),
    (4, b"ftypqt  ", "a QuickTime video", STILL),
    (4, b"ftyp", "an MP4 video", STILL),
    (4, b"moov", "a QuickTime video", STILL),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska video", STILL),
    (8, b"AVI ", "an AVI video", STILL),
    (0, b"\0\0\1\xba", "an MPEG video", STILL),
    (0, b"FLV", "a Flash video", STILL),
    (8, b"WAVE", "a sound file (WAV)", ITSELF),
    (0, b"ID3", "a sound file (MP3)", ITSELF),
    (0, b"OggS", "a sound file (Ogg)", ITSELF),
    (0, b"fLaC", "a sound file (FLAC)", ITSELF),
    (0, b"PK\3\4", "a ZIP archive or an office document", ITSELF),
    (0, b"\x1f\x8b", "a gzip archive", ITSELF),
    (0, b"Rar!", "a RAR archive", ITSELF),
    (0, b"7z\xbc\xaf", "a 7z archive", ITSELF),
)
"""Offset, bytes, name and remedy of files that are not read."""

TEXTS = (
    ("<svg", "an SVG drawing", CONVERT),
    ("<!doctype html", "an HTML page, not a picture", ITSELF),
    ("<html", "an HTML page, not a picture", ITSELF),
    ("<?xml", "an XML document", ITSELF),
    (
        "version https://git-lfs",
        "a Git LFS pointer, not the picture",
        "fetch it with `git lfs pull`",
    ),
    ("data:image/", "a data URL", "send the bytes that its base64 stands for"),
    ("/9j/", "base64 text", "send the bytes that it stands for"),
    ("ivborw0kggo", "base64 text", "send the bytes that it stands for"),
    ("http://", "an address of the web", ITSELF),
    ("https://", "an address of the web", ITSELF),
    ("{", "a JSON document", ITSELF),
)
"""Beginning, name and remedy of texts; any other is just text."""


class UnusablePictureError(Exception):
    """A file that is no usable picture; its text says why and what to do instead."""


def readable_format(data: bytes) -> str | None:
    """Returns the name of a format that is read, or None for any other file."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in BMP_HEADER_BYTES:
        return "BMP"
    if data.startswith(TIFF_STARTS) and data[8:10] != b"CR":
        return "TIFF"
    if data[4:8] == b"ftyp":
        return _still_brand(data)
    return None


def refusal(data: bytes) -> str:
    """Returns what is wrong with a file that is of none of the formats read."""
    for offset, start, name, remedy in OTHERS:
        if data.startswith(start, offset):
            return f"is {name}; {remedy}"
    text = _text(data)
    if text is None:
        return "is of no known format; send a JPEG or PNG file"
    if text.startswith("<?xml") and "<svg" in text:
        text = text[text.index("<svg") :]
    for start, name, remedy in TEXTS:
        if text.startswith(start):
            return f"is {name}; {remedy}"
    return f"is text, not a picture; {ITSELF}"


def _still_brand(data: bytes) -> str | None:
    size = min(struct.unpack(">I", data[:4])[0], TEXT_BYTES)
    major, *compatible = (data[at : at + 4] for at in (8, *range(16, size, 4)))
    # The two general brands say only that it is a still picture.
    brands = {major} if major not in (b"mif1", b"msf1") else {major, *compatible}
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEIC_BRANDS else None


def _text(data: bytes) -> str | None:
    """Returns how a text begins, in lower case, or None where bytes are none."""
    # A character may be cut at the end of the bytes looked at.
    head = data[:TEXT_BYTES].decode(errors="replace").removesuffix("\ufffd")
    text = head.removeprefix("\ufeff").strip().lower()
    return text if all(sign.isprintable() or sign.isspace() for sign in text) else None
