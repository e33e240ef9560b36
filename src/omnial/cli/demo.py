"""`omnial demo`: from nothing to a report, without any data of one's own."""

import webbrowser
from pathlib import Path
from typing import Annotated

from omnial.cli import options
from omnial.cli.options import flag, option
from omnial.cli.output import print_metrics, print_result, working
from omnial.cli.verb import ExitCode, verb

_QUICK = "A small model for half a minute: shows the way only."
_OPEN = "Open the report where there is a display and a terminal."


@verb("omnial demo --quick", "omnial demo --minutes 20 --out runs/long-demo")
def demo(
    quick: Annotated[bool, flag("--quick", _QUICK)] = False,
    minutes: Annotated[float | None, option("M", "Minutes of training. Default: 7.")] = None,
    out: Annotated[Path, options.folder("Folder for data, model and report.")] = Path("runs/demo"),
    open_browser: Annotated[bool, flag("--open/--no-open", _OPEN, options.OUTPUT)] = True,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Generate a small production line, train one model on it, evaluate it, write a report.

    Parts that an earlier run with the same settings finished are used again.
    """
    with working():
        from omnial.demo.run_demo import can_show, run_demo

        result = run_demo(out, quick=quick, minutes=minutes)
    print_result(result, as_json, lambda shown: print_metrics(shown["metrics"]))
    if not as_json:
        print(f"\nreport: {result['report']}")
        if open_browser and can_show():
            webbrowser.open(Path(result["report"]).resolve().as_uri())
    return ExitCode.DONE
