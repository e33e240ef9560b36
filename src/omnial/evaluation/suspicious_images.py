"""Training images that stood out in the training, with their pictures where they are at hand."""

import math
from collections.abc import Iterator, Mapping

from omnial.config.settings import DataSettings
from omnial.data.decode import as_unit
from omnial.data.records import Catalogue
from omnial.errors import UserError
from omnial.evaluation.result import SuspiciousImage, picture
from omnial.evaluation.sample import load_sample


def suspicious_images(
    description: Mapping[str, object], catalogue: Catalogue, settings: DataSettings
) -> tuple[SuspiciousImage, ...]:
    """What `training.suspicious` of a model says, which may come from anywhere.

    A picture is that of the one training image of the class with this name, if it can be read.
    """
    products = {product.name: product for product in catalogue.classes}
    found = []
    for name, file, score in _listed(description.get("training")):
        image, product = None, products.get(name)
        same = [r for r in product.train if r.path.name == file] if product else []
        if product is not None and len(same) == 1:
            try:
                image = picture(as_unit(load_sample(same[0], product, settings).image))
            except UserError:
                image = None
        found.append(SuspiciousImage(name, file, score, image))
    return tuple(found)


def _listed(training: object) -> Iterator[tuple[str, str, float]]:
    """Class, file and score of each entry that has them."""
    entries = training.get("suspicious") if isinstance(training, Mapping) else None
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case {"class": str(name), "file": str(file), "score": float(score)}:
                if math.isfinite(score):
                    yield name, file, score
