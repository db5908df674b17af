"""Scripts that measure and write pages of `docs/`; `make report` runs them all."""
