"""The gateway: speech in, frames out; the networks run in Triton."""
