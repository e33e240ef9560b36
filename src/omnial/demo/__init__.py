"""The demonstration: a drawn production line, one model for it, a report."""
