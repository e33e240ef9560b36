"""Exact figures, and evaluating a model on a data set."""
