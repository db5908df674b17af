"""The demo's own checkpoint: a small EchoMimic V3 flash, trained on drawn faces that talk."""
