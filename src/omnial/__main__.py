"""`python -m omnial`: the command line, as launchers of processes start it."""

from omnial.cli import main

main()
