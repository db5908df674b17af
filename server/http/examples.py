"""Bodies that the OpenAPI page shows, which work as they are."""

import base64
import io
from typing import Any

import numpy as np
import soundfile  # pyright: ignore[reportMissingTypeStubs]

from server.pictures.encoding import FrameEncoding, encode_picture

SIDE, RATE_HZ, SAMPLES = 64, 8000, 320


def render_examples() -> dict[str, dict[str, Any]]:
    """Returns bodies of `/render`: a small picture, and a twenty-fifth of a second of sound."""
    slope = np.linspace(60, 190, SIDE).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(slope[:, None], slope, np.uint8(120)), axis=-1)
    sound = (np.sin(np.arange(SAMPLES) * 0.2) * 8000).astype(np.int16)
    wav = io.BytesIO()
    soundfile.write(wav, sound, RATE_HZ, format="WAV")  # pyright: ignore[reportUnknownMemberType]
    audio = _base64(wav.getvalue())
    jpeg = _base64(encode_picture(picture, FrameEncoding.JPEG, 80))
    return {
        "file": {"summary": "A picture file", "value": {"image": jpeg, "audio": audio}},
        "pcm": {
            "summary": "Bare PCM, and settings",
            "value": {
                "image": jpeg,
                "audio": _base64(sound.tobytes()),
                "sample_rate_hz": RATE_HZ,
                "settings": {"generation": {"steps": 2}},
            },
        },
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
