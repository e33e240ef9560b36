"""On Ray: a cluster that the run starts on this machine, and one of two nodes that it joins."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import omnial
from omnial.batch.archive import inspect_archive
from omnial.batch.on_ray import ATTEMPTS, OnRay
from omnial.cli import app
from omnial.errors import RunError, UserError
from omnial.inference.inputs import list_inputs
from omnial.inference.inspector import Inspector
from omnial.inference.predictor import Row, each_result

pytest.importorskip("ray", reason="Ray is an extra: pip install '.[ray]'")


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Ray keeps the token of its clusters in the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("RAY_ADDRESS", raising=False)
        yield


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of two nodes with a core each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(omnial.__file__).parents[1]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def parquet(out: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(out / "predictions").to_pylist()
    return rows


def fatal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let a worker that opens `fatal.png` die as from a lack of memory.

    Returns:
        A file: each death removes a letter of it, and none is left to die with an empty one. With
        more than one letter, the first part is marked as begun by three workers that died before.
    """
    lives = folder / "lives"
    (folder / "sitecustomize.py").write_text(
        f"""
import os, signal, sys

def die(event, arguments):
    if event == "open" and str(arguments[0]).endswith("fatal.png"):
        lives = os.stat({str(lives)!r}).st_size
        if lives > 1:
            for index in range({ATTEMPTS - 1}):
                os.mknod({str(folder)!r} + f"/out/predictions/.part-000000.parquet.{{index}}.begun")
        if lives:
            os.truncate({str(lives)!r}, lives - 1)
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
""",
        "utf-8",
    )
    source = Path(omnial.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(source)]))
    return lives


def test_death_of_a_worker_loses_nothing_and_doubles_nothing(
    model: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = fatal(tmp_path, monkeypatch)
    more, out = tmp_path / "more", tmp_path / "out"
    more.mkdir()
    for name in ("0", "1", "2", "fatal", "more"):
        Image.new("RGB", (60, 50), (90, 30 * len(name), 0)).save(more / f"{name}.png")
    paths = [more, archive]
    arguments: dict[str, Any] = {"batch_size": 4, "part_images": 4, "pictures": False}

    # An image that kills every worker that opens it.
    lives.write_text("xx")
    with pytest.raises(RunError, match=rf"died {ATTEMPTS} times in the middle of part-000000"):
        inspect_archive(model, paths, out, engine=OnRay(workers=2), **arguments)

    # The same command goes on; the image kills one worker more.
    assert lives.read_text() == "x"
    summary = inspect_archive(model, paths, out, engine=OnRay(workers=2), **arguments)
    assert lives.read_text() == ""
    expected = [one.row for one in each_result(Inspector(model, batch_size=4), list_inputs(paths))]
    assert parquet(out) == expected
    assert (summary.n_images, summary.n_errors) == (len(expected), 2)
    assert len(list((out / "predictions").iterdir())) == 7


def test_address_that_nothing_answers_at_is_the_users_mistake(
    model: Path, archive: Path, tmp_path: Path
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(UserError, match=rf"{address} does not answer"):
            inspect_archive(model, [archive], tmp_path / "out", engine=OnRay(2, address))


def test_two_nodes_make_what_one_process_makes(
    two_nodes: str, model: Path, archive: Path, expected: list[Row], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match="2 cores and 0 GPUs, enough for 2 workers, not 3"):
        inspect_archive(model, [archive], out, engine=OnRay(3, two_nodes), pictures=False)
    options = ("--engine", "ray", "--ray-address", two_nodes, "--workers", "2", "--json")
    sizes = ("--batch-size", "4", "--part-images", "4")
    arguments = ["predict", str(model), str(archive), "--out", str(tmp_path / "cli")]
    ended = CliRunner().invoke(app, [*arguments, *options, *sizes])
    assert ended.exit_code == 1, ended.output
    rows = parquet(tmp_path / "cli")
    assert [{**row, "map": None} for row in rows] == expected
    for row in rows:
        if row["error"] is None:
            with Image.open(tmp_path / "cli" / str(row["map"])) as score_map:
                assert score_map.mode == "I;16"
