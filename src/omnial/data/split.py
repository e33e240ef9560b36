"""Which training images are kept for validation and thresholds."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from omnial.config.settings import DataSettings
from omnial.data.records import ImageRecord


def split_validation(
    records: Sequence[ImageRecord], settings: DataSettings, seed: int
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Split training images into those to learn from and those to validate on.

    Of a class's n images, min(max(round(share * n), at_least), n // 5) are kept: those with the
    smallest hash of seed, class and file name. So the choice does not depend on where the data
    lies or on the order of the records, and a new file moves at most a few others.

    Args:
        records: training images of any number of classes.
        settings: gives `validation_share` and `validation_at_least`.
        seed: another seed makes another choice.

    Returns:
        The images to train on and those to validate on, both in the order of `records`.
    """
    classes: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        classes[record.class_name].append(record)
    kept: set[ImageRecord] = set()
    for members in classes.values():
        total = len(members)
        wanted = max(round(settings.validation_share * total), settings.validation_at_least)
        ranked = sorted(members, key=lambda record: (_rank(record, seed), record.path))
        kept.update(ranked[: min(wanted, total // 5)])
    train = [record for record in records if record not in kept]
    validation = [record for record in records if record in kept]
    return train, validation


def _rank(record: ImageRecord, seed: int) -> bytes:
    """A pseudo-random key from the seed and the name relative to the class."""
    name = "\0".join((str(seed), record.class_name, record.path.parent.name, record.path.name))
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=16).digest()
