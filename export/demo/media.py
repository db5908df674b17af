"""The demo's portrait and speech: a face and a voice that are in no training."""

import wave
from pathlib import Path

import numpy as np

from export.demo.espeak import say
from export.demo.faces import random_face
from server.audio.clock import MODEL_RATE_HZ

PORTRAIT_SEED = (9_100, 8)
PORTRAIT_SIDE = 512
VOICE = "en-us+f3"
SENTENCES = (
    "Hello, and welcome!",
    "I am glad that you are here.",
    "What would you like to talk about today?",
)
PAUSE_S = 0.7
LOUDNESS = 0.1
"""Root mean square, full scale 1."""


def write_media(folder: Path) -> None:
    """Writes portrait.png and speech.wav."""
    folder.mkdir(parents=True, exist_ok=True)
    face = random_face(np.random.default_rng(PORTRAIT_SEED))
    face.portrait(PORTRAIT_SIDE).save(folder / "portrait.png", optimize=True)
    silence = np.zeros(round(PAUSE_S * MODEL_RATE_HZ), np.float32)
    parts = [silence]
    for sentence in SENTENCES:
        parts += [say(sentence, voice=VOICE, words_per_minute=150, pitch=60), silence]
    samples = np.concatenate(parts)
    samples *= LOUDNESS / np.sqrt(np.square(samples).mean())
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MODEL_RATE_HZ)
        file.writeframes(np.rint(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
