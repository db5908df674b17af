"""The Wan VAE, whole and in chunks."""
