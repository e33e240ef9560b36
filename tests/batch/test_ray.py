"""On Ray: a cluster that the run starts on this machine, and one of two nodes that it joins."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import omnial
from omnial.batch.archive import inspect_archive
from omnial.batch.ray_engine import OnRay
from omnial.batch.worker import PartResult
from omnial.cli import app
from omnial.errors import UserError
from omnial.inference.collect import collect
from omnial.inference.inspector import Inspector
from omnial.inference.predictor import Row, each_row

pytest.importorskip("ray", reason="Ray is an extra: pip install 'omnial[ray]'")


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


def kill_the_first_of_part(number: int, folder: Path, killed: list[int]) -> None:
    """Kill the worker that has begun a part, while it is at it."""
    for _ in range(12_000):
        marks = list(folder.glob(f".part-{number:06}.parquet.*.begun"))
        if marks and (text := marks[0].read_text("utf-8")):
            killed.append(int(text.rpartition(":")[2]))
            os.kill(killed[0], signal.SIGKILL)
            return
        time.sleep(0.01)


def test_death_of_a_worker_loses_nothing_and_doubles_nothing(
    model: Path, archive: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.mkdir()
    for index in range(2):  # work enough to be killed in the middle of it
        pixels = np.full((2000, 3000, 3), 40 + 90 * index, np.uint8)
        pixels[500:900, 700:1500] = 255
        Image.fromarray(pixels).save(large / f"{index}.png", compress_level=1)
    paths, out = [large, archive], tmp_path / "out"
    seen: list[PartResult] = []
    killed: list[int] = []
    murder = threading.Thread(
        target=kill_the_first_of_part, args=(0, out / "predictions", killed), daemon=True
    )
    murder.start()
    summary = inspect_archive(
        *(model, paths, out),
        engine=OnRay(workers=2),
        batch_size=4,
        part_images=4,
        pictures=False,
        on_part=lambda result, images: seen.append(result),
    )
    murder.join(timeout=10)
    assert len(killed) == 1
    workers = {result.number: int(result.worker.rpartition(":")[2]) for result in seen}
    assert workers[0] != killed[0]
    assert sorted(result.number for result in seen) == list(range(7))
    expected = list(each_row(Inspector(model, batch_size=4), collect(paths)))
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
    with pytest.raises(UserError, match="2 cores and 0 GPUs, which is room for 2 workers, not 3"):
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
