"""Several processes that share one run: which one this is, their start, what they exchange.

The *first* process alone checks files, decides, and writes. An error of one is raised in all, so
that none waits for another that is gone.
"""
