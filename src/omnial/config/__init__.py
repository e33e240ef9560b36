"""Typed settings, and systems and sizes by name."""
