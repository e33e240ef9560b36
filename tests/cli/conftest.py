"""Running the command line in the test's own process."""

import contextlib
import io
import sys
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import pytest

from omnial.cli import main


class Ended(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def run() -> Callable[..., Ended]:
    """Run `omnial` with the arguments given; returns exit code, standard output and error."""

    def call(*arguments: object) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["omnial", *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, out.getvalue(), err.getvalue())

    return call
