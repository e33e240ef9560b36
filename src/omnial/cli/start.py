"""Start the command that runs as several processes on this machine."""

import sys

from omnial.cli.verb import ExitCode
from omnial.distributed.launch import read_processes


def must_start(devices: int) -> bool:
    """Whether this process is the one that a user started, and others shall do the work."""
    return devices > 1 and read_processes().size == 1


def start_again(devices: int) -> ExitCode:
    """Run the command line of this process as so many processes, and end as they end.

    Raises:
        KeyboardInterrupt: A signal ended this process, and all others.
        RunError: A process was killed.
    """
    from omnial.distributed.launch import start_here

    code = start_here(devices, [sys.executable, "-m", "omnial", *sys.argv[1:]])
    return ExitCode(code) if code in set(ExitCode) else ExitCode.FAILED
