"""The cache of network inputs: the same pixels as without it, whatever happens to its folder."""

import logging
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from numpy.typing import NDArray
from PIL import Image

from omnial.config.settings import DataSettings
from omnial.data import cache as cache_module
from omnial.data import decode
from omnial.data.cache import LOCATION, open_cache
from omnial.data.image_file import ImageError

SMALL = DataSettings(height=40, width=48)
ITEM = 3 * 40 * 48


def draw(path: Path, seed: int, size: tuple[int, int] = (50, 70)) -> Path:
    """An 8-bit RGB image of noise; files of one size have equally many bytes."""
    noise = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).save(path, format="BMP")
    return path


def draw_all(folder: Path, number: int) -> list[Path]:
    return [draw(folder / f"{seed:03d}.bmp", seed) for seed in range(number)]


def assert_as_decoded(paths: list[Path], settings: DataSettings) -> list[NDArray[Any]]:
    """The cache gives bit for bit what decoding gives."""
    inputs = open_cache(settings).network_inputs(paths)
    for path, (pixels, placement) in zip(paths, inputs, strict=True):
        expected, expected_placement = decode.network_input(path, settings)
        assert placement == expected_placement
        assert pixels.dtype == expected.dtype
        np.testing.assert_array_equal(pixels, expected)
    return [pixels for pixels, _ in inputs]


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npy"))


def stored(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("geometry", ["auto", "window", "squash", "pad"])
@pytest.mark.parametrize("size", [(50, 70), (70, 50), (40, 48), (300, 33), (5, 900)])
def test_inputs_are_the_same_with_and_without(
    cache_folder: Path, tmp_path: Path, geometry: str, size: tuple[int, int]
) -> None:
    settings = DataSettings.model_validate({**SMALL.model_dump(), "geometry": geometry})
    paths = [draw(tmp_path / f"{seed}.bmp", seed, size) for seed in range(3)]
    for _ in range(2):
        assert_as_decoded(paths, settings)
    assert len(kept(cache_folder)) == 3


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_files_keep_their_depth(
    cache_folder: Path, tmp_path: Path, bits: int, decoded: Counter[str]
) -> None:
    settings = SMALL.model_copy(update={"significant_bits": bits})
    grey = np.random.default_rng(0).integers(0, 2**12, (50, 70), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    paths = [draw(tmp_path / "flat.bmp", 0), tmp_path / "deep.png", draw(tmp_path / "z.bmp", 1)]
    for _ in range(2):
        pixels = assert_as_decoded(paths, settings)
        assert [array.dtype for array in pixels] == [np.uint8, np.float32, np.uint8]
    assert decoded["deep.png"] == 1


def test_the_second_run_decodes_nothing(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    paths = draw_all(tmp_path, 5)
    assert_as_decoded(paths, SMALL)
    assert set(decoded.values()) == {1}
    # Neither a new name nor a new date makes other pixels.
    paths = [path.rename(tmp_path / f"moved_{path.name}") for path in paths]
    os.utime(paths[0], (1, 1))
    for pixels in assert_as_decoded(paths, SMALL):
        assert not pixels.flags.writeable
    assert sum(decoded.values()) == 5


def test_an_added_image_is_the_only_one_decoded(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    assert_as_decoded(draw_all(tmp_path, 4), SMALL)
    before = kept(cache_folder)
    assert_as_decoded(draw_all(tmp_path, 5), SMALL)
    assert decoded == {f"{number:03d}.bmp": 1 for number in range(5)}
    assert set(before) < set(kept(cache_folder))


def test_other_content_under_the_same_name_size_and_date_is_decoded_again(
    cache_folder: Path, tmp_path: Path
) -> None:
    path = draw(tmp_path / "a.bmp", 0)
    date, size = path.stat().st_mtime_ns, path.stat().st_size
    cache = open_cache(SMALL)
    first, _ = cache.network_input(path)
    draw(path, 1)
    os.utime(path, ns=(date, date))
    assert path.stat().st_size == size
    assert_as_decoded([path], SMALL)
    # Also within one run, which knows the file already.
    second, _ = cache.network_input(path)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    "change",
    [
        {"height": 48, "width": 40},
        {"geometry": "pad"},
        {"significant_bits": 12},
        {"max_megapixels": 1.0},
    ],
)
def test_whatever_decides_the_pixels_is_part_of_the_key(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str], change: dict[str, object]
) -> None:
    paths = draw_all(tmp_path, 1)
    assert_as_decoded(paths, SMALL)
    assert_as_decoded(paths, DataSettings.model_validate({**SMALL.model_dump(), **change}))
    assert decoded["000.bmp"] == 2


def test_a_newer_pillow_decodes_again(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = draw_all(tmp_path, 1)
    assert_as_decoded(paths, SMALL)
    monkeypatch.setattr(PIL, "__version__", "1000.0")
    assert_as_decoded(paths, SMALL)
    assert decoded["000.bmp"] == 2


def flipped(position: int) -> Callable[[bytes], bytes]:
    """Damage that flips one bit."""

    def damage(content: bytes) -> bytes:
        return content[:position] + bytes([content[position] ^ 64]) + content[position + 1 :]

    return damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda content: content[: len(content) // 2],
    "cut in the header": lambda content: content[:60],
    "empty": lambda _: b"",
    "header": flipped(30),
    "shape": lambda content: content.replace(b"(3, 40, 48)", b"(3, 40, 47)"),
    "pickled": lambda content: content.replace(b"'|u1'", b"'|O' "),
    "pixel": lambda content: flipped(len(content) - 5)(content),
    "zeros after a power cut": lambda content: bytes(len(content)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_decoded_again(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str], damage: str
) -> None:
    paths = draw_all(tmp_path, 4)
    assert_as_decoded(paths, SMALL)
    victim = kept(cache_folder)[0]
    victim.write_bytes(DAMAGE[damage](victim.read_bytes()))
    assert_as_decoded(paths, SMALL)
    assert sum(decoded.values()) == 5
    decoded.clear()
    assert_as_decoded(paths, SMALL)
    assert not decoded


FILL = """
import sys
from pathlib import Path
import numpy as np
from omnial.config.settings import DataSettings
from omnial.data.cache import open_cache
from omnial.data.decode import network_input
settings = DataSettings(height=40, width=48)
paths = [Path(name) for name in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.readline()
for path, (pixels, _) in zip(paths, open_cache(settings).network_inputs(paths), strict=True):
    assert np.array_equal(pixels, network_input(path, settings)[0])
"""


def test_two_processes_may_fill_it_at_once(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    paths = draw_all(tmp_path, 12)
    fillers = [
        subprocess.Popen(
            [sys.executable, "-c", FILL, *map(str, order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in (paths, paths[::-1])
    ]
    for filler in fillers:
        assert filler.stdout is not None
        assert filler.stdout.readline() == "ready\n"
    for filler in fillers:
        assert filler.stdin is not None
        filler.stdin.write("go\n")
        filler.stdin.flush()
    for filler in fillers:
        filler.communicate()
        assert filler.returncode == 0
    assert not list(cache_folder.glob("*.part"))
    assert_as_decoded(paths, SMALL)
    assert not decoded


def test_a_run_keeps_what_another_removes(cache_folder: Path, tmp_path: Path) -> None:
    paths = draw_all(tmp_path, 4)
    assert_as_decoded(paths[:3], SMALL)
    cache = open_cache(SMALL)
    ((before, _),) = cache.network_inputs(paths[:1])
    for file in kept(cache_folder):
        file.unlink()
    np.testing.assert_array_equal(before, decode.network_input(paths[0], SMALL)[0])
    # What it has not opened yet is decoded.
    (_, (new, _)) = cache.network_inputs(paths[1:3])
    np.testing.assert_array_equal(new, decode.network_input(paths[2], SMALL)[0])


def test_its_size_is_bounded_and_the_longest_unused_go_first(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    bounded = SMALL.model_copy(update={"cache_gigabytes": 20 * ITEM / 1e9})
    paths = draw_all(tmp_path, 40)
    for start in range(0, 40, 8):
        assert_as_decoded(paths[start : start + 8], bounded)
        assert stored(cache_folder) <= 20 * ITEM
        for file in kept(cache_folder):
            # Tests are faster than some file systems' clocks.
            state = file.stat()
            os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns - 10**9))
    decoded.clear()
    assert_as_decoded(paths[32:], bounded)
    assert not decoded
    assert_as_decoded(paths[:8], bounded)
    assert sum(decoded.values()) == 8


def test_nothing_that_the_run_has_used_is_removed_to_make_room(
    cache_folder: Path, tmp_path: Path, decoded: Counter[str]
) -> None:
    bounded = SMALL.model_copy(update={"cache_gigabytes": 20 * ITEM / 1e9})
    paths = draw_all(tmp_path, 24)
    assert_as_decoded(paths[:10], bounded)
    assert_as_decoded(paths[10:16], bounded)
    decoded.clear()
    run = open_cache(bounded)
    run.network_inputs(paths[:10])
    # The new ones need the space of some that the run has not used.
    run.network_inputs(paths[16:])
    assert set(decoded) == {path.name for path in paths[16:]}
    assert stored(cache_folder) <= 20 * ITEM
    decoded.clear()
    assert_as_decoded(paths[:10], bounded)
    assert not decoded


def test_what_does_not_fit_stays_in_memory(
    cache_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bounded = SMALL.model_copy(update={"cache_gigabytes": 10 * ITEM / 1e9})
    paths = draw_all(tmp_path, 30)
    for _ in range(2):
        caplog.clear()
        assert_as_decoded(paths, bounded)
        assert 5 * ITEM < stored(cache_folder) <= 10 * ITEM
        assert len([row for row in caplog.records if row.levelno >= logging.WARNING]) == 1
        assert "data.cache_gigabytes" in caplog.text


def test_what_a_killed_run_left_is_removed(cache_folder: Path, tmp_path: Path) -> None:
    cache_folder.mkdir(parents=True)
    for name, age in (("old", 10**5), ("new", 0)):
        left = cache_folder / f".{name}.npy.part"
        left.write_bytes(b"half")
        os.utime(left, (left.stat().st_mtime - age,) * 2)
    (cache_folder / "notes.txt").write_text("mine")
    assert_as_decoded(draw_all(tmp_path, 2), SMALL)
    left_over = {path.name for path in cache_folder.iterdir() if path.suffix != ".npy"}
    assert left_over == {".new.npy.part", "notes.txt"}


def test_zero_turns_it_off(cache_folder: Path, tmp_path: Path) -> None:
    assert_as_decoded(draw_all(tmp_path, 2), SMALL.model_copy(update={"cache_gigabytes": 0.0}))
    assert not cache_folder.exists()


def test_a_folder_that_cannot_be_made_costs_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(LOCATION, str(tmp_path / "file"))
    assert_as_decoded(draw_all(tmp_path, 2), SMALL)
    assert [row.levelname for row in caplog.records] == ["WARNING"]
    assert LOCATION in caplog.text


def test_a_folder_that_cannot_be_written_costs_one_warning_and_is_still_read(
    cache_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    decoded: Counter[str],
) -> None:
    paths = draw_all(tmp_path, 30)
    assert_as_decoded(paths[:4], SMALL)
    decoded.clear()

    # The file mode does not stop every user, so the disk is full instead.
    def full(path: Path, **_: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(cache_module, "replacing", full)
    bounded = SMALL.model_copy(update={"cache_gigabytes": 100 * ITEM / 1e9})
    assert_as_decoded(paths, bounded)
    assert [row.levelname for row in caplog.records] == ["WARNING"]
    assert "No space left on device" in caplog.text
    assert set(decoded) == {path.name for path in paths[4:]}
    assert set(decoded.values()) == {1}


def test_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(LOCATION)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    open_cache(SMALL)
    assert (tmp_path / "xdg/omnial/inputs").is_dir()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    open_cache(SMALL)
    assert (tmp_path / "home/.cache/omnial/inputs").is_dir()


def test_a_bad_file_is_named_as_without(cache_folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.bmp"
    broken.write_bytes(draw(tmp_path / "a.bmp", 0).read_bytes()[:-900])
    (tmp_path / "folder.png").mkdir()
    for path in (broken, tmp_path / "folder.png", tmp_path / "missing.png"):
        with pytest.raises(ImageError) as expected:
            decode.network_input(path, SMALL)
        cache = open_cache(SMALL)
        for function in (cache.network_input, partial(cache.check, purpose="input")):
            with pytest.raises(ImageError) as caught:
                function(path)
            assert str(caught.value) == str(expected.value)
    assert not kept(cache_folder)
