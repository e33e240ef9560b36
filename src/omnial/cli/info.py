"""`omnial info`: what a network consists of, or what a model folder holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omnial.cli import options
from omnial.cli.output import print_facts, print_result, print_table, print_validation, working
from omnial.cli.verb import ExitCode, verb
from omnial.errors import UserError

_DEFAULT_SIZE = "paper"


@verb(
    "omnial info",
    "omnial info --size lite --set model.stem=2",
    "omnial info models/mvtec --json",
)
def info(
    model_dir: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL_DIR]", show_default=False, help="Describe this trained model instead."
        ),
    ] = None,
    system: options.System = None,
    size: Annotated[str | None, options.size_option(_DEFAULT_SIZE)] = None,
    config: options.Config = None,
    set_: options.Set = None,
    as_json: options.AsJson = False,
) -> ExitCode:
    """Count parameters, part by part next to the published counts, and operations.

    Of a model folder also the classes, the thresholds, how it was trained and what its validation
    images said.
    """
    if model_dir is not None and (system or size or config or set_):
        raise UserError("give MODEL_DIR or settings, not both: a trained model has its own")
    trained: dict[str, Any] = {}
    with working():
        from omnial.config.load import load_settings
        from omnial.model_folder.weights_file import load_model
        from omnial.models.count import describe

        if model_dir is None:
            settings = load_settings(
                system=system,
                size=size,
                config_file=config,
                overrides=set_ or [],
                default_size=_DEFAULT_SIZE,
            )
        else:
            model = load_model(model_dir, "cpu")
            settings, calibration = model.settings, model.calibration
            trained = {
                "model": str(model_dir),
                "classes": list(model.classes),
                "calibration": calibration.summary(),
                "notes": list(calibration.notes()),
                "thresholds": {name: calibration.threshold_for(name) for name in model.classes},
                "training": dict(model.training),
            }
        shape = {"height": settings.data.height, "width": settings.data.width}
        counts = describe(settings.model, **shape)
    names = {"system": settings.system, "size": settings.size, "input": shape}
    print_result(names | counts | trained, as_json, _show)
    return ExitCode.DONE


def _show(result: Mapping[str, Any]) -> None:
    from omnial.model_folder.validation_figures import ValidationFigures

    size, training = result["input"], dict(result.get("training", {}))
    validation = ValidationFigures.of_training(training)
    if validation is not None:
        del training["validation"]  # has a table of its own
    print_facts(
        {
            "system": result["system"],
            "size": result["size"],
            "input": f"{size['height']} x {size['width']}",
            "parameters": f"{result['total']:,}",
            "operations": f"{result['flops'] / 1e9:,.1f} GFLOP an image",
            **({"training": ""} if training else {}),
            **{f"  {key}": value for key, value in training.items()},
        }
    )
    print()
    parts = [_part(name, **part) for name, part in result["parts"].items()]
    print_table(("part", "parameters", "published", "difference"), parts)
    if "model" in result:
        print()
        thresholds = result["thresholds"].items()
        print_table(("class", "threshold"), [(name, f"{value:.4f}") for name, value in thresholds])
        if validation is not None:
            print()
            print_validation(validation)
        print("\n".join(["", *result["notes"]]).rstrip())


def _part(name: str, parameters: int, published: int | None) -> tuple[str, ...]:
    label = "module alone, 512 channels" if name == "module" else name
    if published is None:
        return label, f"{parameters:,}", "-", "-"
    return label, f"{parameters:,}", f"{published:,}", f"{parameters - published:+,}"
