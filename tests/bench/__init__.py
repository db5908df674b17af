"""The benchmark: `python -m tests.bench` measures, and writes docs/benchmarks/."""
