"""The networks, and the folder that a trained one lives in."""
