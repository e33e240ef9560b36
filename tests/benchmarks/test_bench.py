"""The table, the document and the arithmetic of the benchmarks; nothing here is about speed."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import entries, growth_exponent, in_own_process, ratio, side_by_side
from benchmarks.pixel_metrics import measure_ours, naive_aupro, synthetic_map
from benchmarks.run import QUICK, measure
from benchmarks.table import BEGIN, END, between_markers, markdown, write_document
from omnial import machine

ENTRIES = entries("python -m benchmarks.synthesis", {"synthesis_vs_reference": (12.3456, "ratio")})


def test_a_growth_of_a_power_is_that_power() -> None:
    sizes = [10, 20, 40, 80]
    assert growth_exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert growth_exponent(sizes, [7.0] * 4) == pytest.approx(0)


def test_works_take_turns_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []
    times = side_by_side({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert "".join(order) == "ab" * 4
    assert [len(taken) for taken in times.values()] == [3, 3]


def test_a_ratio_is_taken_within_the_rounds() -> None:
    # The machine is ten times slower in the second round, for both sides alike.
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == 2.0


def test_the_table_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    (tmp_path / "bench.json").write_text(json.dumps(ENTRIES), encoding="utf-8")
    (tmp_path / "machine.json").write_text(json.dumps(machine.describe()), encoding="utf-8")
    write_document(tmp_path, document)
    first = document.read_text(encoding="utf-8")
    assert first.startswith("before\n")
    assert first.endswith("\nafter\n")
    assert "old" not in first
    assert "| `synthesis_vs_reference` | 12.35 | ratio | at least 10 |" in first
    assert "    python -m benchmarks.synthesis" in first
    write_document(tmp_path, document)
    assert document.read_text(encoding="utf-8") == first


@pytest.mark.parametrize("document", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_document_without_its_two_markers_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="must have"):
        between_markers(document, "text")


def test_a_command_that_gives_many_figures_is_named_once() -> None:
    found = entries("python -m benchmarks.x", {"a": (1, "ratio"), "b": (2, "ratio")})
    assert markdown(found, machine.describe()).count("benchmarks.x") == 1


def test_the_page_of_figures_has_its_markers() -> None:
    document = Path(__file__).parents[2] / "docs" / "results" / "bench.md"
    between_markers(document.read_text(encoding="utf-8"), "text")


def test_the_naive_aupro_agrees_with_the_exact_one() -> None:
    maps = [synthetic_map(index, 32) for index in range(6)]
    distinct = np.unique(np.concatenate([score_map.ravel() for score_map, _ in maps])).size
    assert naive_aupro(maps, distinct) == pytest.approx(measure_ours(6, 32)["aupro"], abs=1e-3)


def test_a_function_runs_in_a_process_of_its_own() -> None:
    assert in_own_process(pow, 2, 10) == 1024


def test_a_benchmark_run_as_a_whole_gives_entries() -> None:
    found = measure("synthesis", QUICK["synthesis"])
    assert set(found) == {"synthesis_vs_reference", "synthesis_time_per_image"}
    for entry in found.values():
        assert set(entry) == {"value", "unit", "command"}
        assert entry["value"] > 0
        assert entry["command"].startswith("python -m benchmarks.synthesis")
