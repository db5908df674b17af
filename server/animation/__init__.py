"""Speech to pictures, a window at a time; `pipeline.py` is the whole way, read it first."""
