"""The command line: thin verbs; `main` is what the `omnial` command runs.

Nothing here imports PyTorch at the top of a file: a verb imports what it needs when it runs, so
that `omnial --help` answers at once.
"""

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from omnial._version import __version__
from omnial.cli.calibrate import add, calibrate, drift, learn
from omnial.cli.export import export, verify
from omnial.cli.predict import predict, watch
from omnial.cli.serve import serve
from omnial.cli.show import data, demo, info, runs, synthesize
from omnial.cli.studies import attack, robustness, study
from omnial.cli.train import evaluate, train
from omnial.cli.verb import ExitCode, ready_streams, settle
from omnial.config.own_code import VARIABLE, allow_code


def _without_types(parameters: list[Any]) -> list[Any]:
    """Parameters, flags without a value's type in the help, also those that Typer makes."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


app = typer.Typer(
    name="omnial",
    cls=_Group,
    help="One network that inspects many products: trained from good parts alone, it finds and "
    "outlines defects that it has never seen.",
    epilog="Exit codes: 0 done; 1 done, but some inputs were bad; 2 a mistake in the command, "
    "nothing was done; 3 failed otherwise, with a log; 130 interrupted.\n\n"
    "First look: omnial demo --quick",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_VERBS = {
    "Learn from good parts": (demo, data, synthesize, train, evaluate, runs),
    "Inspect": (predict, watch, serve),
    "Keep a model right": (calibrate, drift, add, learn),
    "Without PyTorch": (export, verify),
    "Research": (info, study, attack, robustness),
}
for _panel, _verbs in _VERBS.items():
    for _verb in _verbs:
        app.command(epilog=_verb.examples, cls=_Command, rich_help_panel=_panel)(_verb.run)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"omnial {__version__}")
        raise typer.Exit


_VERSION = typer.Option(
    "--version",
    is_eager=True,
    callback=_print_version,
    help="Show the version and exit.",
)


_CODE = typer.Option(
    "--code",
    metavar="PATH",
    help="Code that a model folder names and you trust, as package.module:name; before the verb. "
    "Repeatable.",
)


@app.callback()
def _root(
    version: Annotated[bool, _VERSION] = False,
    code: Annotated[list[str] | None, _CODE] = None,
) -> None:
    if code:
        allow_code(*code)
        # For processes that this one starts, too.
        os.environ[VARIABLE] = " ".join([os.environ.get(VARIABLE, ""), *code])


def main() -> None:
    """Run the command line and end the process with one of the documented exit codes."""
    ready_streams()
    sys.exit(int(settle(_run)))


def _run() -> ExitCode:
    try:
        app(prog_name="omnial")
    except SystemExit as request:
        return ExitCode(int(request.code or 0))
    return ExitCode.DONE
