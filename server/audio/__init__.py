"""PCM of any kind to what Wav2Vec2 hears, and time counted in samples."""
