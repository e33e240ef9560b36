"""The robustness page's own tables."""

import pytest
from matplotlib.figure import Figure

from omnial.attacks.pgd import LEVELS, UNATTACKED
from omnial.reporting import robustness_report
from omnial.reporting.charts import SERIES_COLOURS
from omnial.reporting.robustness_tables import published_table, transfer_tables
from omnial.robustness.corruptions import CORRUPTIONS, CorruptedFigures
from omnial.robustness.evaluate_models import ModelRobustness, RobustnessResult
from omnial.robustness.transfer import FIGURES, LevelFigures


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


def test_a_class_of_mvtec_ad_has_the_published_figures_below_its_own() -> None:
    classes = ("bottle", "gear")
    ours = LevelFigures.over({name: dict.fromkeys(FIGURES, 0.5) for name in classes})
    transfer = dict.fromkeys((*(level.name for level in LEVELS), UNATTACKED), ours)
    models = tuple(
        ModelRobustness(name, "", {"system": system}, transfer, None, None, {})
        for name, system in (("OmniAL", "omnial"), ("mine", "my:system"))
    )
    tables = transfer_tables(RobustnessResult({}, LEVELS, classes, models, (), {}))

    ap, _, psnr, ssim = tables
    assert [label for label, _ in ap.rows] == ["bottle", "bottle of MVTec AD as published", "gear"]
    assert [label for label, _ in ap.feet] == ["mean", "average of MVTec AD as published"]
    # The supplement's Tables 8, 10 and 11, at 8t, 8, 4, 2 and 1; it has none without an attack.
    nothing = ["\N{EM DASH}"] * 7
    assert ap.rows[1][1] == ["62.3", "65.3", "76.8", "96.3", "98.6", *nothing]
    assert psnr.rows[1][1] == ["31.1", "32.3", "32.1", "34.0", "34.6", *nothing]
    assert ssim.rows[1][1] == ["0.932", "0.953", "0.952", "0.971", "0.977", *nothing]


def test_a_line_has_its_model_s_name_where_others_were_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = LevelFigures.over({"gear": dict.fromkeys(FIGURES, 0.5)})
    corrupted = CorruptedFigures(ours, 0.0, 0.0)
    severities = dict.fromkeys(robustness_report.SEVERITY_KEYS, corrupted)
    asked = {corruption.name: severities for corruption in CORRUPTIONS}
    models = tuple(
        ModelRobustness(name, "", {}, {}, None, None, corruptions)
        for name, corruptions in (("JNLD", {}), ("OmniAL", asked))
    )
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(robustness_report, "png", keep)
    result = RobustnessResult({}, LEVELS, ("gear",), models, (), {})
    robustness_report.severity_chart(result, ["JNLD", "OmniAL"])
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["OmniAL"]
    assert [line.get_color() for line in legend.get_lines()] == [SERIES_COLOURS[1]]
