"""The good images of a run: checked, split into those to learn from and those held out."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

from omnial.config.settings import Settings
from omnial.data.cache import InputCache
from omnial.data.checks import check_files
from omnial.data.records import Catalogue, ImageRecord, split_validation
from omnial.errors import UserError
from omnial.model_folder.config_file import MOST_FILES, class_names, short_digest

_logger = logging.getLogger(__name__)


class GoodImages(NamedTuple):
    """Good images of each product, none of which is both learnt from and held out."""

    catalogue: Catalogue
    learn: list[ImageRecord]
    held_out: list[ImageRecord]
    """For validation and thresholds; without copies of images that were learnt from."""
    trained_files: frozenset[bytes]
    """Of the files of `learn`, and of those that the weights know from before."""

    @classmethod
    def load(
        cls,
        found: Catalogue,
        settings: Settings,
        cache: InputCache,
        before: frozenset[bytes] = frozenset(),
    ) -> "GoodImages":
        """Check and split what `discover` found.

        Args:
            found: The data.
            settings: Its `data` and the seed of its training.
            cache: Of decoded images.
            before: Digests of the files that the weights know from before.

        Raises:
            UserError: A bad file, or a class that no model folder may hold.
        """
        try:
            # What no model folder may hold is refused now, not after the training.
            class_names(list(found.names))
        except ValueError as error:
            raise UserError(f"{error}. Rename that class in the data.") from error
        catalogue = check_files(found, settings.data, cache=cache)
        counts = [f"{product.name} ({len(product.train)} images)" for product in catalogue.classes]
        _logger.info("learnt as good: %s", ", ".join(counts))
        records = [record for product in catalogue.classes for record in product.train]
        learn, held_out = split_validation(records, settings.data, settings.training.seed)
        digests = {record: short_digest(cache.content(record.path)) for record in records}
        trained = before | {digests[record] for record in learn}
        if len(trained) > MOST_FILES:
            text = f"{len(trained):,} training images: a model keeps {MOST_FILES:,} apart."
            raise UserError(text)
        # A copy of a trained image is no new one, nor one that the weights to start from know.
        new = [record for record in held_out if digests[record] not in trained]
        if len(new) < len(held_out):
            text = "%d of the %d images held out for validation are copies of trained ones: they "
            count = len(held_out) - len(new)
            _logger.warning(text + "set no thresholds", count, len(held_out))
        return cls(catalogue, learn, new, trained)

    def labels(self, records: Sequence[ImageRecord]) -> list[int]:
        """Class number of each record."""
        return [self.catalogue.names.index(record.class_name) for record in records]
