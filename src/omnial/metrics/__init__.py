"""Exact figures from scores and labels: pure functions of arrays."""
