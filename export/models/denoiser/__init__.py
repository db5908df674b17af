"""The EchoMimic denoiser: a diffusion transformer that hears."""
