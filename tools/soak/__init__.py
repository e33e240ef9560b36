"""Kill the command line anywhere, start it again, and compare with a run that nobody disturbed."""
