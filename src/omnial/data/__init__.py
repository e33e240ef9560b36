"""Images in: layouts, decoding, geometry, sampling and the embedded data set."""
