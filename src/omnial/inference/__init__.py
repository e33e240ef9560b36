"""Prediction: verdicts, heatmaps and outlines at the source size."""
