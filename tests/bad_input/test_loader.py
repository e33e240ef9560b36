"""What the loader makes of hostile files."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omnial.config.settings import DataSettings
from omnial.data.cache import open_cache
from omnial.data.checks import check_files
from omnial.data.decode import network_input, read_rgb
from omnial.data.image_file import ImageError, image_size
from omnial.data.layouts import discover
from omnial.errors import UserError
from tests.bad_input.corpus import CASES
from tests.bad_input.listings import LISTINGS
from tests.bad_input.outcomes import Case, Listing, PassedOver, Read, Refused

DATA = DataSettings(height=32, width=32, on_bad_file="skip")
SOUND = {"0000.png", "zzzz.png"}

# Pillow's own words about damage that it passes over are no part of what is promised here.
pytestmark = pytest.mark.filterwarnings("ignore")

_UNDER_LIMIT = """
import resource, sys
from pathlib import Path
from omnial.config.settings import DataSettings
from omnial.data.decode import read_rgb
from omnial.data.image_file import ImageError
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
limit = size + 400_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name in sys.argv[1:]:
    try:
        read_rgb(Path(name), DataSettings())
    except ImageError as error:
        if "memory" in error.reason:
            print(name, error.reason)
"""


def test_there_are_many() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case.name))
def test_a_file_has_its_documented_outcome(corpus: Path, case: Case) -> None:
    path = corpus / case.name
    if isinstance(case.loader, Read):
        image = read_rgb(path, DATA)
        assert image.shape == (case.loader.height, case.loader.width, 3)
        assert image_size(path) == image.shape[:2]
        values, placement = network_input(path, DATA)
        assert values.shape == (3, placement.height, placement.width)
        assert 32 == min(values.shape[1:]) <= max(values.shape[1:]) <= 8 * 32
        assert np.isfinite(values).all()
    elif isinstance(case.loader, Refused):
        with pytest.raises(ImageError) as caught:
            read_rgb(path, DATA)
        assert case.loader.reason in caught.value.reason
        # A message is one line, and cannot command a terminal, whatever the file is called.
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("cached", [False, True])
def test_the_check_names_the_bad_files_and_keeps_the_others(corpus: Path, cached: bool) -> None:
    catalogue = discover([corpus.parents[2]], need="train")
    checked = check_files(catalogue, DATA, cache=open_cache(DATA) if cached else None)
    (product,) = checked.classes

    refused = {case.name for case in CASES if isinstance(case.loader, Refused)}
    read = {case.name for case in CASES if isinstance(case.loader, Read)}
    assert {bad.path.name for bad in checked.bad_files} == refused
    assert {record.path.name for record in product.train} == read | SOUND
    reasons = {bad.path.name: bad.reason for bad in checked.bad_files}
    for case in CASES:
        if isinstance(case.loader, Refused):
            assert case.loader.reason in reasons[case.name]
        elif isinstance(case.loader, PassedOver):
            assert case.name not in reasons


def test_without_leave_to_skip_the_check_counts_them(corpus: Path) -> None:
    catalogue = discover([corpus.parents[2]], need="train")
    refused = sum(isinstance(case.loader, Refused) for case in CASES)
    taken = refused + sum(isinstance(case.loader, Read) for case in CASES) + len(SOUND)
    with pytest.raises(UserError, match=f"{refused} of {taken} images cannot be used"):
        check_files(catalogue, DataSettings())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the memory of a process of Linux")
def test_no_file_takes_much_memory(corpus: Path) -> None:
    paths = [corpus / c.name for c in CASES if not isinstance(c.loader, PassedOver)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _UNDER_LIMIT, *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)
def test_a_data_set_has_its_documented_outcome(tmp_path: Path, listing: Listing) -> None:
    listing.write(tmp_path)
    if not listing.message:
        catalogue = discover([tmp_path], need="train")
        assert check_files(catalogue, DataSettings()) == catalogue
        return
    with pytest.raises(UserError) as caught:
        check_files(discover([tmp_path], need="train"), DataSettings())
    assert listing.message in str(caught.value)
    assert "\x1b" not in str(caught.value)
