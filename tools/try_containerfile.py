"""Run the steps of the Containerfile without a container engine, and try what comes out.

Every RUN, COPY, ENV and USER is carried out in a fresh folder that stands for the image's root,
with a Python of this machine in place of the base image's. Then the entry point is started, the
health check run, an image inspected, and the service stopped. What this cannot show is that the
base image has every system library that the packages need.

    python tools/try_containerfile.py EXPORT_DIR IMAGE [--python /usr/bin/python3]

As root, the service runs as the image's user, who must be able to read that Python.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import typer

_ROOT = Path(__file__).parents[1]
_ABSOLUTE = ("/opt/omnial", "/src", "/data", "/model", "/tmp/matplotlib")


def steps(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile, in order, with their arguments."""
    joined = text.replace("\\\n", " ").splitlines()
    lines = [line for line in joined if line.strip() and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


class Image:
    """A folder that stands for the root of an image."""

    def __init__(self, root: Path, python: str) -> None:
        self.root = root
        self.python = python
        self.folder = root
        self.environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
        self.environment |= {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        self.user: int | None = None
        self.entry: list[str] = []
        self.health: list[str] = []

    def inside(self, text: str) -> str:
        """A text with the image's paths in the folder's place."""
        for path in _ABSOLUTE:
            text = text.replace(path, f"{self.root}{path}")
        return text

    def carry_out(self, name: str, rest: str) -> None:
        """One instruction."""
        print(f"{name} {rest}", flush=True)
        if name == "RUN":
            command = [self.inside(word) for word in shlex.split(rest)]
            if command[0] == "python":
                command[0] = self.python
            subprocess.run(command, cwd=self.folder, env=self.environment, check=True)
        elif name == "COPY" and not rest.startswith("--from"):
            *sources, target = rest.split()
            for source in sources:
                found = _ROOT / source
                if found.is_dir():
                    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                    shutil.copytree(found, self.folder / target, ignore=ignored)
                else:
                    shutil.copy(found, self.folder / target)
        elif name == "WORKDIR":
            self.folder = Path(self.inside(rest))
            self.folder.mkdir(parents=True, exist_ok=True)
        elif name == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                self.environment[key] = self.inside(value)
        elif name == "USER":
            self.user = int(rest.partition(":")[0])
        elif name == "HEALTHCHECK":
            self.health = [self.inside(word) for word in json.loads(rest.partition("CMD")[2])]
        elif name == "ENTRYPOINT":
            self.entry = [self.inside(word) for word in json.loads(rest)]

    def become(self) -> dict[str, int]:
        """Arguments that make a process the image's user, where this one may do that."""
        return {} if self.user is None or os.geteuid() else {"user": self.user, "group": self.user}


def try_out(image: Image, picture: Path) -> None:
    """Start the service, ask it, and stop it."""
    python = image.inside("/opt/omnial/bin/python")
    torch = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is not None)"
    subprocess.run([python, "-c", torch], check=True, env=image.environment)
    service = subprocess.Popen(
        image.entry, cwd=image.folder, env=image.environment, **image.become()
    )
    try:
        deadline = time.monotonic() + 120
        while subprocess.run(image.health, stderr=subprocess.DEVNULL, check=False).returncode:
            assert service.poll() is None, "the service ended"
            assert time.monotonic() < deadline, "the health check does not succeed"
            time.sleep(0.5)
        request = urllib.request.Request(
            "http://127.0.0.1:8000/v1/inspect", data=picture.read_bytes(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            print(json.dumps(json.load(answer))[:300])
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0, "SIGTERM is no clean end"
    finally:
        service.kill()
        service.wait()
    owner = (image.root / "data" / "history.sqlite").stat().st_uid
    print(f"history of user {owner}; no PyTorch; healthy; ended by SIGTERM with exit code 0")


def main(export: Path, picture: Path, python: str = sys.executable) -> None:
    """Carry out the recipe in a fresh folder, and try the service."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        (root / "tmp").mkdir(parents=True)
        for folder, mode in ((Path(scratch), 0o755), (root, 0o755), (root / "tmp", 0o1777)):
            folder.chmod(mode)
        image = Image(root, python)
        for name, rest in steps((_ROOT / "Containerfile").read_text("utf-8")):
            image.carry_out(name, rest)
        shutil.copytree(export, root / "model")
        try_out(image, picture)


if __name__ == "__main__":
    typer.run(main)
