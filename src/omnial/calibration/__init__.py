"""Thresholds and product recognition, learnt from normal images."""
