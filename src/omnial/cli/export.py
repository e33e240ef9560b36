"""`omnial export`: a folder that inspects without PyTorch."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import exit_code, print_facts, print_result, print_table, working
from omnial.cli.verb import ExitCode, verb


class FormatName(StrEnum):
    """Formats."""

    ONNX = "onnx"
    OPENVINO = "openvino"


class PrecisionName(StrEnum):
    """Precisions."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


@verb(
    "omnial export models/mvtec --format openvino --data mvtec --out exports/mvtec",
    "omnial export models/mvtec --format onnx --precision fp32 --out exports/mvtec-onnx",
)
def export(
    model_dir: options.ModelDir,
    format_: Annotated[
        FormatName, typer.Option("--format", help="Engine that the folder is made for.")
    ],
    out: Annotated[
        Path, options.folder("Folder to write; an older export there is replaced.", "EXPORT_DIR")
    ],
    precision: Annotated[
        PrecisionName,
        typer.Option(help="auto measures, and takes the fastest that passes the accuracy gate."),
    ] = PrecisionName.AUTO,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Data set to calibrate INT8 on and to compare the export on. Repeatable.",
        ),
    ] = None,
    compared_images: Annotated[int, options.number("Most images of it to compare on.")] = 100,
    reconstruction: Annotated[
        bool, typer.Option("--reconstruction", help="Also give the reconstructed image.")
    ] = False,
    with_pictures: Annotated[
        bool,
        typer.Option(
            "--with-pictures",
            help="Keep a few images of the data in the folder for `omnial verify`, instead of "
            "made-up ones.",
        ),
    ] = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Export a model for inspection without PyTorch, and compare the export with PyTorch.

    The exit code is 1 if the export is not as accurate as it must be; it is written all the same.
    """
    options.check_out(out)
    with working() as progress:
        from omnial.export.export_model import export_model

        record = export_model(
            model_dir,
            out,
            format_=format_.value,
            precision=precision.value,
            data=data or [],
            compared_images=compared_images,
            reconstruction=reconstruction,
            with_pictures=with_pictures,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    result = {"folder": str(out), **record.model_dump(mode="json")}
    print_result(result, as_json, _show)
    return exit_code((), failed=not record.gate.passed)


def _show(result: Mapping[str, Any]) -> None:
    gate = result["gate"]
    found = gate["differences"]
    if result["candidates"]:
        rows = []
        for row in result["candidates"]:
            verdict = "passed" if row["passed"] else "; ".join(row["reasons"])
            rows.append((row["precision"], f"{row['milliseconds']:.1f}", verdict))
        print_table(("precision", "ms an image", "gate"), rows, texts=(0, 2))
        print()
    images = "images of the data" if gate["images"] == "data" else "made-up pictures"
    facts: list[tuple[str, object]] = [
        ("export", result["folder"]),
        ("precision", f"{result['precision']}, computed in {result['executed']}"),
        ("compared on", f"{found['images']} {images}"),
        ("largest map difference", f"{found['map_largest']:.2g}"),
        ("mean map difference", f"{found['map_mean']:.2g}"),
        ("largest score difference", f"{found['score_largest']:.2g}"),
        ("verdicts changed", f"{100 * gate['verdicts_changed']:.1f} %"),
    ]
    if gate["pixel_ap"] is not None:
        before, after = gate["pixel_ap_reference"], gate["pixel_ap"]
        facts.append(("pixel AP", f"{100 * after:.2f}, PyTorch {100 * before:.2f}"))
    facts.append(("gate", "passed" if gate["passed"] else "; ".join(gate["reasons"])))
    print_facts(facts)
