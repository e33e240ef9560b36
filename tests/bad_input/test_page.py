"""The documented outcomes are those that the other tests hold the code to."""

import pytest

from tests.bad_input.corpus import CASES
from tests.bad_input.page import PAGE, tables, with_tables


def test_the_page_shows_the_tables_of_the_corpus() -> None:
    page = PAGE.read_text("utf-8")
    assert page == with_tables(page), "run make docs"


def test_every_file_has_its_line() -> None:
    lines = [line for line in tables().splitlines() if line.startswith("| `")]
    # Some cannot be made here, and stand in the page all the same.
    assert len(lines) >= len(CASES)


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="needs the lines"):
        with_tables("# Bad input")
