"""The version, which no import of the package needs."""

__version__ = "0.1.0"
