"""Lines on standard error: why a verdict is what it is, and where a failure came from."""

import logging

import pytest

from omnial.cli.output import working
from omnial.errors import told_apart


@pytest.mark.parametrize(
    ("score", "threshold", "shown"),
    [
        (0.83, 0.41, ("0.8300", "0.4100")),
        (0.5, 0.5, ("0.5000", "0.5000")),
        (0.41142, 0.41138, ("0.41142", "0.41138")),
        (0.41141, 0.41137, ("0.41141", "0.41137")),
        (0.99999996, 0.99999993, ("1.0000000", "0.9999999")),
        (1.0, 0.99999999, ("1.00000000", "0.99999999")),
    ],
)
def test_as_many_digits_as_show_the_difference(
    score: float, threshold: float, shown: tuple[str, str]
) -> None:
    assert told_apart(score, threshold) == shown


def test_a_failure_that_is_logged_says_where_it_came_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with working():
        logger = logging.getLogger("omnial.serving.replies")
        logger.info("inspecting")
        logger.error("a request failed", exc_info=ZeroDivisionError("no parts"))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("inspecting\na request failed\n")
    assert "ZeroDivisionError: no parts" in err
