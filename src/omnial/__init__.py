"""omnial: one network that inspects many products."""

__version__ = "0.1.0"
