"""The robustness page's own tables."""

from omnial.reporting.robustness_tables import published_table


def test_the_published_table_quotes_both_averages() -> None:
    table = published_table()
    rows = dict(table.rows)
    assert len(table.groups) * len(table.columns) == 15
    assert rows["Pixel AP, %: average as printed"][0] == "22.3"
    assert rows["Pixel AP, %: mean of the printed rows"][0] == "23.2"
    assert rows["PSNR, dB: last row (zipper)"][-1] == "34.1"
    assert rows["SSIM, 0..1: average as printed"][-1] == "0.970"
    assert all(len(cells) == 15 for cells in rows.values())
    assert all("as published" in title for title in table.groups)
