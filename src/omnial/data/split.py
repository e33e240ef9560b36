"""Which training images are held out for validation and thresholds."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from omnial.config.settings import DataSettings
from omnial.data.records import ImageRecord


def split_validation(
    records: Sequence[ImageRecord], settings: DataSettings, seed: int
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Training images to learn from, and those to validate on, both in the order of `records`.

    Of a class's n images, min(max(round(share * n), at_least), n // 5) are held out, with
    `validation_share` and `validation_at_least` of the settings: those with the smallest hash of
    seed, class and file name. So the choice does not depend on where the data lies or on the order
    of the records, and a new file moves at most a few others.
    """

    def rank(record: ImageRecord) -> bytes:
        names = (str(seed), record.class_name, record.path.parent.name, record.path.name)
        text = "\0".join(names).encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16).digest()

    classes: defaultdict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        classes[record.class_name].append(record)
    held_out: set[ImageRecord] = set()
    for members in classes.values():
        total = len(members)
        wanted = max(round(settings.validation_share * total), settings.validation_at_least)
        ranked = sorted(members, key=lambda record: (rank(record), record.path))
        held_out.update(ranked[: min(wanted, total // 5)])
    train = [record for record in records if record not in held_out]
    return train, [record for record in records if record in held_out]
