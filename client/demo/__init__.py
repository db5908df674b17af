"""The demo: a gateway of its own, a live stream, and the files it leaves."""
