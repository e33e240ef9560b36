"""How many requests the service answers on the loopback address, and how long each one waits.

`omnial serve` runs in a process of its own. Clients ask for one image after another, without a
pause, on connections that stay open; latency is from the first byte sent to the last received.
Client and service share the machine's cores. An untrained network of the size named stands for a
trained one, unless a folder is given: the cost is the same.

    python -m benchmarks.service_load --duration 120
"""

import asyncio
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Annotated

import httpx
import numpy as np
import typer
from PIL import Image

from benchmarks.common import Entries, entries, report
from omnial.demo.production_line import render_pair

_PATH = "/v1/inspect"
_MEMORY_EVERY = 1.0
_WARM_UP = 10


@dataclass
class Load:
    """Result of one number of clients."""

    clients: int
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    """Resident bytes of the service, a sample a second."""

    @property
    def growth(self) -> float:
        """Memory of the last quarter over that of the second, in the mean."""
        quarter = max(1, len(self.memory) // 4)
        return float(np.mean(self.memory[-quarter:]) / np.mean(self.memory[quarter : 2 * quarter]))


def picture(edge: int) -> bytes:
    """A demonstration image as a JPEG file."""
    stream = BytesIO()
    pair = render_pair("gear", "test", "missing_part", 0, seed=0, size=edge)
    Image.fromarray(pair.image).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def untrained(folder: Path, size: str) -> None:
    """Write a model folder with a network that has learnt nothing."""
    import torch

    from omnial.config.load import load_settings
    from omnial.model_folder.weights_file import save_model
    from omnial.models.recogniser import FEATURES, Recogniser
    from omnial.models.system import build_model
    from omnial.models.thresholds import calibrate
    from omnial.models.trained_model import TrainedModel

    settings = load_settings(size=size)
    torch.manual_seed(0)
    network = build_model(settings.model).eval()
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, FEATURES))
    model = TrainedModel(
        settings=settings,
        classes=("gear",),
        network=network,
        calibration=calibrate({"gear": generator.random(40)}, 0.5, 0.05),
        recogniser=Recogniser.fit(features, np.zeros(6, int), ("gear",)),
        rois={},
        training={},
    )
    save_model(folder, model)


def start(folder: Path, scratch: Path, options: list[str]) -> "tuple[subprocess.Popen[str], str]":
    """The service in a process of its own, and its address."""
    history = ["--history", str(scratch / "history.sqlite")]
    code = "from omnial.cli import main; main()"
    service = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(folder), "--port", "0", *history, *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert service.stderr is not None
    said = []
    for line in service.stderr:
        said.append(line)
        if found := re.search(r"inspecting at (\S+)", line):
            return service, found[1]
    raise RuntimeError("the service did not start: " + "".join(said))


async def load(url: str, clients: int, seconds: float, content: bytes, process: int) -> Load:
    """Let clients ask for a while."""
    found = Load(clients)
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as http:
        for _ in range(_WARM_UP):
            (await http.post(_PATH, content=content)).raise_for_status()
        begin = time.perf_counter()
        end = begin + seconds

        async def client() -> None:
            while time.perf_counter() < end:
                asked = time.perf_counter()
                try:
                    answer = await http.post(_PATH, content=content)
                except httpx.HTTPError as error:
                    found.failures[type(error).__name__] += 1
                    continue
                if answer.status_code == 200:
                    found.latencies.append(time.perf_counter() - asked)
                else:
                    found.failures[str(answer.status_code)] += 1

        async def watch() -> None:
            while time.perf_counter() < end:
                found.memory.append(resident(process))
                await asyncio.sleep(_MEMORY_EVERY)

        await asyncio.gather(watch(), *(client() for _ in range(clients)))
        found.seconds = time.perf_counter() - begin
    return found


def resident(process: int) -> int:
    """Resident bytes of a process; 0 where the system does not say."""
    status = Path(f"/proc/{process}/status")
    if not status.exists():
        return 0
    lines = status.read_text("ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def figures(found: Load) -> dict[str, tuple[float, str]]:
    """The figures of one number of clients."""
    name = f"clients_{found.clients}"
    waits = np.array(found.latencies) * 1000
    some = len(waits) > 0
    at = {q: float(np.percentile(waits, q)) if some else math.inf for q in (50, 95, 99)}
    memory = {}
    if found.memory and found.memory[0]:
        memory = {
            f"{name}_memory": (max(found.memory) / 2**20, "MiB"),
            f"{name}_memory_growth": (found.growth, "ratio"),
        }
    return {
        f"{name}_rate": (len(waits) / found.seconds, "requests/s"),
        **{f"{name}_p{q}": (value, "ms") for q, value in at.items()},
        f"{name}_failures": (sum(found.failures.values()), "requests"),
        **memory,
    }


def measure(
    clients: list[int],
    duration: float,
    size: str = "lite",
    folder: Path | None = None,
    edge: int = 512,
    options: list[str] | None = None,
) -> Entries:
    """Load the service with each number of clients in turn."""
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model" if folder is None else folder
        if folder is None:
            untrained(model, size)
        service, url = start(model, Path(scratch), options or [])
        try:
            results: dict[str, tuple[float, str]] = {}
            for count in clients:
                found = asyncio.run(load(url, count, duration, picture(edge), service.pid))
                if found.failures:
                    print(f"{count} clients: {dict(found.failures)}", file=sys.stderr)
                results |= figures(found)
            service.send_signal(signal.SIGTERM)
            results["exit_code"] = (service.wait(90), "code")
        finally:
            service.kill()
            service.wait()
            if service.stderr is not None:
                service.stderr.close()
    what = f"--size {size}" if folder is None else f"--model {folder.name}"
    given = " ".join(f"--clients {count}" for count in clients)
    command = f"python -m benchmarks.service_load --duration {duration:g} {what} {given}"
    return entries(f"{command} --edge {edge}", results)


def main(
    duration: Annotated[float, typer.Option(help="Seconds for each number of clients.")] = 120.0,
    clients: Annotated[
        list[int] | None, typer.Option(help="Clients at a time; 1, 8 and 32. Repeatable.")
    ] = None,
    size: Annotated[str, typer.Option(help="Size of the untrained network.")] = "lite",
    model: Annotated[Path | None, typer.Option(help="A model or export folder instead.")] = None,
    edge: Annotated[int, typer.Option(help="Edge of the image in pixels.")] = 512,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Measure and print."""
    busy = os.getloadavg()[0]
    if busy > 0.5:
        print(f"other work shares this machine: load average {busy:.1f}", file=sys.stderr)
    report(
        "The service under load", measure(clients or [1, 8, 32], duration, size, model, edge), out
    )


if __name__ == "__main__":
    typer.run(main)
