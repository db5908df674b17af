"""The commands of `python -m export`, one file each; what they need is imported when they run."""
