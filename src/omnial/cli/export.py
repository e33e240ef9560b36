"""`omnial export`: a folder that inspects without PyTorch; `omnial verify`: does it still?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from omnial.cli import options
from omnial.cli.options import flag, number, option
from omnial.cli.output import exit_code, print_next, print_result, print_table, working
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
    out: Annotated[Path, options.folder(_OUT, "EXPORT_DIR")] = Path("runs/export"),
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
    from omnial.model_folder.export_folder import check_free_for_export

    check_free_for_export(out)  # before PyTorch is imported, which takes seconds
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
    if not as_json:
        print_next("verify", out)
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
    if found.passed and not as_json:
        print_next("predict", export_dir, "new_pictures")
    return exit_code(failed=not found.passed)


def _show_export(result: Mapping[str, Any]) -> None:
    gate = result["gate"]
    if result["candidates"]:
        rows = [
            (row["precision"], f"{row['milliseconds']:.1f}", "; ".join(row["reasons"]) or "good")
            for row in result["candidates"]
        ]
        print_table(("precision", "ms an image", "accuracy"), rows, texts=(0, 2))
        print()
    found, allowed = gate["differences"], 100 * gate["tolerance"]["verdicts_changed"]
    of = "images of the data" if gate["images"] == "data" else "made-up pictures"
    print(f"{result['folder']} inspects in {result['precision']}, {_engine(result['executed'])}.")
    print(f"Compared with PyTorch on {found['images']} {of}:")
    print(f"- {100 * gate['verdicts_changed']:.1f} % of the verdicts differ; {allowed:g} % may")
    print(_in_words(found))
    if gate["pixel_ap"] is not None:
        before, after = gate["pixel_ap_reference"], gate["pixel_ap"]
        print(f"- pixel AP is {100 * after:.2f}, PyTorch's {100 * before:.2f}")
    print(_outcome(gate))


def _show_verification(result: Mapping[str, Any]) -> None:
    found = result["differences"]
    print(f"Inspected {found['images']} stored images, {_engine(result['engine'])}.")
    print(f"Next to PyTorch's results, stored with them:\n{_in_words(found)}")
    print(_outcome(result))


def _engine(facts: Mapping[str, str]) -> str:
    """What computed: `with openvino 2026.4.1, device CPU, precision bf16`."""
    (name, version), *others = facts.items()
    return ", ".join([f"with {name} {version.split('-')[0]}", *map(" ".join, others)])


def _in_words(differences: Mapping[str, float]) -> str:
    score, mean, most = (differences[k] for k in ("score_largest", "map_mean", "map_largest"))
    return (
        f"- scores differ by at most {score:.2g}\n"
        f"- score maps by {mean:.2g} in the mean and at most {most:.2g}"
    )


def _outcome(checked: Mapping[str, Any]) -> str:
    if checked["passed"]:
        return "This is good: as accurate as it must be."
    return "This is NOT as accurate as it must be: " + "; ".join(checked["reasons"]) + "."
