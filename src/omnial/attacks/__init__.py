"""Attacks on any differentiable function of images, pure functions of their arguments."""
