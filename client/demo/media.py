"""The demo's portrait and speech."""

from pathlib import Path

MEDIA = Path(__file__).parents[2] / "docs" / "media"
PORTRAIT = MEDIA / "portrait.png"
SPEECH = MEDIA / "speech.wav"
