"""Rows of `predictions.jsonl` as Parquet: one schema, whatever engine made them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from omnial.files import replacing
from omnial.inference.predictor import Row

_OUTLINE: Final = pa.struct(
    [
        pa.field("polygon", pa.list_(pa.list_(pa.float64(), 2)), nullable=False),
        pa.field("area", pa.int64(), nullable=False),
        pa.field("peak", pa.float64(), nullable=False),
    ]
)
SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("class", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("threshold", pa.float64()),
        pa.field("anomalous", pa.bool_()),
        pa.field("outlines", pa.list_(_OUTLINE), nullable=False),
        pa.field("map", pa.string()),
        pa.field("error", pa.string()),
    ]
)
"""The columns are the keys of a row; docs/batch.md describes them."""


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write a Parquet file whole or not at all, even where another process writes the same.

    Raises:
        OSError: It cannot be written.
    """
    table = pa.Table.from_pylist([_encodable(row) for row in rows], schema=SCHEMA)
    with replacing(path, rivals=True) as draft:
        pq.write_table(table, draft, compression="zstd")


def read_rows(path: Path) -> list[Row]:
    """The rows of one file, as they stand in `predictions.jsonl`.

    Raises:
        OSError: It cannot be read, or is no such file.
    """
    try:
        rows: list[Row] = pq.read_table(path, schema=SCHEMA).to_pylist()
    except pa.ArrowException as error:
        raise OSError(f"{path}: {error}") from error
    return rows


def _encodable(row: Row) -> Row:
    """A row whose texts are UTF-8: other bytes of file names become escapes as in JSON."""
    return {
        key: value.encode("utf-8", "backslashreplace").decode("utf-8")
        if isinstance(value, str)
        else value
        for key, value in row.items()
    }
