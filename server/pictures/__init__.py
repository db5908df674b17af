"""Portraits in, frames out: decoding, faces, colours and encoding."""
