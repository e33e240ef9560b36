"""A short part of `make soak`, and that it would see what it looks for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from omnial.files import SCRATCH
from tools.soak.content import cached, content, contents
from tools.soak.scenarios import Material, Scenario, scenarios

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_training_killed_at_random_ends_in_the_same_bits(tmp_path: Path) -> None:
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "tools.soak", "--only", "train", "--kills", "3"),
            *("--fresh-every", "0", "--out", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    record = json.loads((tmp_path / "soak.json").read_text())
    train = record["scenarios"]["train"]
    assert record["kills"] == train["kills"] == train["moments"] + train["between"] >= 3
    assert train["checked"] == train["kills"]
    assert train["rounds"] == train["identical"] >= 1
    assert train["faults"] == []
    assert "| train |" in (tmp_path / "soak.md").read_text()


class TestWhatItSees:
    @pytest.fixture
    def scenario(self, tmp_path: Path) -> Scenario:
        (tmp_path / "out").mkdir()
        some = Path("some")
        by_name = {found.name: found for found in scenarios(Material(some, some, some))}
        return by_name["evaluate"]

    def write(self, folder: Path, **texts: str) -> None:
        for name, text in texts.items():
            (folder / "out" / name.replace("_", ".")).write_text(text)

    def test_times_do_not_count_and_figures_do(self, tmp_path: Path) -> None:
        file = tmp_path / "a.json"
        digests = []
        for seconds, figure in ((1, 0.5), (2, 0.5), (1, 0.6)):
            file.write_text(json.dumps({"seconds": seconds, "deep": [{"figure": figure}]}))
            digests.append(content(file))
        assert digests[0] == digests[1] != digests[2]

    def test_the_commit_on_a_page_does_not_count_and_its_words_do(self, tmp_path: Path) -> None:
        file = tmp_path / "README.md"
        digests = []
        for commit, size in (("1", "tiny"), ("2-dirty", "tiny"), ("1", "base")):
            file.write_text(f"Size {size}. Commits {commit}. Machines: one.")
            digests.append(content(file))
        assert digests[0] == digests[1] != digests[2]

    def test_half_a_file_is_not_whole(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text('{"figure": 0.')
        (tmp_path / "a.html").write_text("<html>")
        (tmp_path / "x.npy").write_bytes(b"omnial")
        found = contents(tmp_path, ["*.json", "*.html"]) | cached(tmp_path)
        assert len(found) == 3
        assert all(text.startswith("not whole") for text in found.values())

    def test_faults_in_the_end(self, scenario: Scenario, tmp_path: Path) -> None:
        self.write(tmp_path, metrics_json='{"a": 1}', metrics_csv="a", index_html="<p></html>")
        new = scenario.result(tmp_path)
        assert scenario.faults(tmp_path, {"new": new}, finished=True) == []
        self.write(tmp_path, metrics_json='{"a": 2}', metrics_csv_part="")
        (tmp_path / "out" / "index.html").unlink()
        (tmp_path / "out" / SCRATCH).mkdir()
        assert scenario.faults(tmp_path, {"new": new}, finished=True) == [
            "metrics.json: differs",
            "index.html: differs",
            f"out/{SCRATCH}: left over",
            "out/metrics.csv.part: left over",
        ]

    def test_faults_after_a_kill(self, scenario: Scenario, tmp_path: Path) -> None:
        self.write(tmp_path, metrics_csv="old")
        earlier = scenario.result(tmp_path)
        self.write(tmp_path, metrics_csv="new")
        allowed = {"new": scenario.result(tmp_path), "earlier": earlier}
        for text, faults in (("old", 0), ("new", 0), ("ne", 1)):
            self.write(tmp_path, metrics_csv=text, index_html_part="half")
            assert len(scenario.faults(tmp_path, allowed, finished=False)) == faults
