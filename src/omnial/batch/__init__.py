"""Archives of images: inspected part by part, in this process or on a Ray cluster, to Parquet."""
