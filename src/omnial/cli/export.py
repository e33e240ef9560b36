"""`omnial export`: a folder that inspects without PyTorch; `omnial verify`: does it still?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import exit_code, print_facts, print_result, print_table, working
from omnial.cli.verb import ExitCode, verb

_OUT = "Folder to write; an older export there is replaced."
_FORMAT = "Engine that the folder is made for."
_PRECISION = "auto measures, and takes the fastest that passes the accuracy gate."
_DATA = "Data set to calibrate INT8 on and to compare the export on. Repeatable."
_PICTURES = (
    "Keep a few images of the data in the folder for `omnial verify`, instead of made-up ones."
)


@verb(
    "omnial export models/mvtec --format openvino --data mvtec --out exports/mvtec",
    "omnial export models/mvtec --format onnx --precision fp32 --out exports/mvtec-onnx",
)
def export(
    model_dir: options.ModelDir,
    format_: Annotated[Literal["onnx", "openvino"], option(None, _FORMAT, name="--format")],
    out: Annotated[Path, options.folder(_OUT, "EXPORT_DIR")],
    precision: Annotated[
        Literal["auto", "fp32", "fp16", "bf16", "int8"], option(None, _PRECISION)
    ] = "auto",
    data: Annotated[list[Path] | None, option("DIR", _DATA)] = None,
    compared_images: Annotated[int, number("Most images of it to compare on.")] = 100,
    reconstruction: Annotated[
        bool, flag("--reconstruction", "Also give the reconstructed image.")
    ] = False,
    with_pictures: Annotated[bool, flag("--with-pictures", _PICTURES)] = False,
    max_megapixels: options.MaxMegapixels = None,
    significant_bits: options.SignificantBits = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Export a model for inspection without PyTorch, and compare the export with PyTorch.

    The exit code is 1 if the export is not as accurate as it must be; it is written all the same.
    """
    with working() as progress:
        from omnial.export.export_model import export_model

        record = export_model(
            *(model_dir, out),
            format_=format_,
            precision=precision,
            data=data or [],
            compared_images=compared_images,
            reconstruction=reconstruction,
            with_pictures=with_pictures,
            reading=options.reading(max_megapixels, significant_bits),
            progress=progress,
        )
    print_result({"folder": str(out), **record.model_dump(mode="json")}, as_json, _show_export)
    return exit_code(failed=not record.gate.passed)


@verb("omnial verify exports/mvtec")
def verify(
    export_dir: Annotated[
        Path, options.model_folder("Folder that `omnial export` wrote.", "EXPORT_DIR")
    ],
    device: options.Device = "auto",
    as_json: options.AsJson = False,
) -> ExitCode:
    """Check an export on this machine: its files, and its results against those of PyTorch.

    Needs no PyTorch and no images. The exit code is 1 if the results differ by too much.
    """
    with working():
        from omnial.inference.verify import verify as run

        found = run(export_dir, device=device)
    print_result(found.model_dump(), as_json, _show_verification)
    return exit_code(failed=not found.passed)


def _show_export(result: Mapping[str, Any]) -> None:
    gate = result["gate"]
    if result["candidates"]:
        rows = [
            (row["precision"], f"{row['milliseconds']:.1f}", _outcome(row, "passed"))
            for row in result["candidates"]
        ]
        print_table(("precision", "ms an image", "gate"), rows, texts=(0, 2))
        print()
    facts = {
        "export": result["folder"],
        "precision": f"{result['precision']}, computed in {result['executed']}",
        "compared on": "images of the data" if gate["images"] == "data" else "made-up pictures",
        **gate["differences"],
        "verdicts changed": f"{100 * gate['verdicts_changed']:.1f} %",
    }
    if gate["pixel_ap"] is not None:
        before, after = gate["pixel_ap_reference"], gate["pixel_ap"]
        facts["pixel AP"] = f"{100 * after:.2f}, PyTorch {100 * before:.2f}"
    print_facts({**facts, "gate": _outcome(gate, "passed")})


def _show_verification(result: Mapping[str, Any]) -> None:
    engine, differences = result["engine"], result["differences"]
    print_facts({"engine": engine, **differences, "result": _outcome(result, "good")})


def _outcome(checked: Mapping[str, Any], good: str) -> str:
    return good if checked["passed"] else "; ".join(checked["reasons"])
