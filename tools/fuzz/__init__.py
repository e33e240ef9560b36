"""Fuzzing, guided by coverage: `python -m tools.fuzz TARGET`. Each module here is a target."""
