"""The table, the document and the arithmetic of the benchmarks; nothing here is about speed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.common import entries, growth_exponent, in_own_process, ratio, side_by_side
from benchmarks.pixel_metrics import measure_ours, naive_aupro, synthetic_map
from benchmarks.run import QUICK, measure
from benchmarks.table import BEGIN, END, aim, write_document
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


EPYC = {**machine.describe(), "isa": ["avx2", "avx512f", "avx512_bf16"], "commit": "a58f20a"}
XEON = {**EPYC, "isa": [*EPYC["isa"], "amx_bf16"], "commit": "5069a24", "date": "2026-12-01"}


def put(document: Path, found: object, facts: object) -> str:
    """The document after a run on a machine."""
    (document.parent / "bench.json").write_text(json.dumps(found), encoding="utf-8")
    (document.parent / "machine.json").write_text(json.dumps(facts), encoding="utf-8")
    write_document(document.parent, document)
    return document.read_text(encoding="utf-8")


@pytest.fixture
def document(tmp_path: Path) -> Path:
    document = tmp_path / "bench.md"
    document.write_text(f"before\n{BEGIN}\n{END}\nafter\n", encoding="utf-8")
    return document


def test_every_instruction_set_has_a_table_of_its_own(document: Path) -> None:
    put(document, ENTRIES, EPYC)
    text = put(document, entries("python -m x", {"synthesis_vs_reference": (7, "ratio")}), XEON)
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    epyc, xeon = text.partition("## AMX")[::2]
    assert "## AVX-512 bf16 without AMX" in epyc
    assert f"| `synthesis_vs_reference` | 12.35 | ratio | {EPYC['date']}, `a58f20a` | a" in epyc
    assert "    python -m benchmarks.synthesis" in epyc
    assert "| `synthesis_vs_reference` | 7 | ratio | 2026-12-01, `5069a24` | at" in xeon
    assert put(document, ENTRIES, EPYC) == text


def test_a_part_measured_again_leaves_the_others_as_they_are(document: Path) -> None:
    found = entries("python -m x", {"synthesis_vs_reference": (3, "ratio"), "b": (2, "ms")})
    put(document, found, EPYC)
    text = put(document, ENTRIES, {**EPYC, "date": "2026-12-01", "commit": "5069a24"})
    assert text.count("`synthesis_vs_reference`") == 1
    assert "| 12.35 | ratio | 2026-12-01, `5069a24` |" in text
    assert f"| `b` | 2 | ms | {EPYC['date']}, `a58f20a` |" in text
    assert text.count("    python -m") == 2


def test_a_missed_aim_says_why() -> None:
    assert aim("synthesis_vs_reference", 12) == "at least 10"
    assert aim("synthesis_vs_reference", 2).startswith("at least 10; missed: the reference is")
    assert aim("growth_x", 1.2) == "at most 1.2"
    assert aim("growth_x", 1.3) == "at most 1.2; missed: the reason is not known"
    assert aim("training_step_speed", 1) == ""


@pytest.mark.parametrize("text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN} {END} {BEGIN} {END}"])
def test_a_document_without_its_two_markers_is_refused(text: str, document: Path) -> None:
    document.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="must have"):
        put(document, ENTRIES, EPYC)


def test_a_command_that_gives_many_figures_is_named_once(document: Path) -> None:
    found = entries("python -m benchmarks.x", {"a": (1, "ratio"), "b": (2, "ratio")})
    assert put(document, found, EPYC).count("benchmarks.x") == 1


def test_the_page_of_figures_keeps_its_tables(document: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "results" / "bench.md"
    shutil.copy(page, document)
    assert put(document, {}, EPYC).count("| `") == page.read_text(encoding="utf-8").count("| `")


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
