"""A few test images of each class, the same for every model."""

from dataclasses import replace

import numpy as np

from omnial.data.records import ProductClass


def few_test_images(product: ProductClass, most: int) -> ProductClass:
    """The class with some of its test images: half good, half defective, spread evenly.

    Args:
        product: A class.
        most: Test images to keep at most; of an odd number, the defective ones are one more.
    """
    kept = []
    for anomalous, count in ((False, most // 2), (True, most - most // 2)):
        own = [record for record in product.test if record.anomalous == anomalous]
        places = np.linspace(0, len(own) - 1, min(count, len(own))).round().astype(int)
        kept += [own[place] for place in places]
    return replace(product, test=tuple(kept))
