"""The folder that a trained model lives in: `model.safetensors` and `config.json`.

A folder may come from anywhere, so nothing in it is believed: both files hold plain data, the
size and shape of every tensor is compared with what the settings ask for before memory is
taken, and the configuration names the digest of the weights that it belongs to. In which order,
and what that does not cover, stands in docs/model-folders.md.
"""

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from omnial._version import __version__
from omnial.config.settings import AS_TRAINED, Reading, Settings
from omnial.errors import UserError
from omnial.files import StrPath, as_path, file_digest, locked, replacing, writing
from omnial.model_folder.config_file import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    FolderConfig,
    extra_arrays,
    extra_forms,
    read_config,
    read_extra,
    refusal,
    refusing,
    under,
)
from omnial.models.channels_last import to_channels_last
from omnial.models.system import build_model
from omnial.models.trained_model import TrainedModel
from omnial.untrusted import JSON, Form, UntrustedError, check_forms, quoted, read_forms

_NETWORK = "network."
_MOST_TENSORS = 2**13
_FINITE_AT_ONCE = 2**20
_DTYPES = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def save_model(folder: Path, model: TrainedModel) -> None:
    """Write a model folder; an older model there is replaced.

    Both files are written in full under other names before the first is put in place. A crash
    leaves the old model, or, between the two renames, a pair that `load_model` refuses.
    """
    config = FolderConfig(
        settings=model.settings,
        classes=model.classes,
        calibration=model.calibration,
        training=dict(model.training),
        weights_sha256="0" * 64,  # until they are written
        trained_files=model.trained_files,
    )
    classes = set(model.classes)
    known = set[str]() if model.settings.model.normality == "none" else classes
    if (
        model.recogniser.names != model.classes
        or model.normality.keys() != known
        or not model.rois.keys() <= classes
    ):
        # Before a good model is replaced by one that cannot be read.
        raise ValueError("recogniser, normality or regions are not those of the model's classes")
    tensors = {_NETWORK + name: value for name, value in model.network.state_dict().items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    for name, array in extra_arrays(model.recogniser, model.rois, model.normality).items():
        tensors[name] = torch.from_numpy(array)
    with writing("The model", folder, SafetensorError):
        folder.mkdir(parents=True, exist_ok=True)
        with (
            replacing(folder / CONFIG_FILE) as config_part,
            replacing(folder / WEIGHTS_FILE) as weights_part,
        ):
            save_file(tensors, weights_part)
            config = config.model_copy(update={"weights_sha256": file_digest(weights_part)})
            config_part.write_text(config.to_text(), encoding="utf-8")
            # The library lets the owner alone read the weights; the user's own rule holds here.
            shutil.copymode(config_part, weights_part)


def save_changed(
    out: Path, folder: Path, model: TrainedModel, command: str, products: Mapping[str, JSON]
) -> None:
    """Write to a new folder what a command made of another folder's model.

    `changes` among the facts about its training says when, from which weights, and what of each
    product. A UserError says that another run writes there, a RunError that the disk failed.
    """
    change: JSON = {
        "command": command,
        "omnial": __version__,
        "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "weights_before": read_config(folder).weights_sha256,
        "products": dict(products),
    }
    earlier = model.training.get("changes")
    changes = [*(earlier if isinstance(earlier, list) else []), change]
    with locked(out):
        save_model(out, replace(model, training={**model.training, "changes": changes}))


def load_model(
    folder: StrPath, device: str = "auto", *, reading: Reading = AS_TRAINED
) -> TrainedModel:
    """Read a model folder: the model, its network in eval mode, on the device.

    Args:
        folder: What `save_model` wrote.
        device: A PyTorch device name; `auto` is the GPU where there is one, else the CPU.
        reading: How pictures are read for it, where that differs from the training.

    Raises:
        UserError: The folder is missing or is not a model folder of this version, its files do
            not belong together, a tensor is missing, unexpected, of the wrong shape or dtype or
            not finite, its network is code that `allow_code` did not name, or the device does
            not exist.
        TypeError: `folder` is no path.

    Example:
        >>> import omnial
        >>> model = omnial.load_model("model", "cpu")
        >>> model
        <TrainedModel of gear: system omnial, size tiny>
    """
    folder = as_path(folder, "folder")
    target = choose_device(device)
    config = read_config(folder)
    settings, classes = config.settings, config.classes
    network = _skeleton(folder, settings)
    tensors = _read_tensors(folder, network, settings, classes, config.weights_sha256)
    network.load_state_dict(under(_NETWORK, tensors), assign=True)
    arrays = {k: v.numpy() for k, v in tensors.items() if not k.startswith(_NETWORK)}
    with refusing(folder, WEIGHTS_FILE):
        recogniser, rois, normality = read_extra(arrays, classes)
    return TrainedModel(
        settings=settings.model_copy(update={"data": reading.of(settings.data)}),
        classes=classes,
        network=to_channels_last(network.eval().to(target)),
        calibration=config.calibration,
        recogniser=recogniser,
        rois=rois,
        normality=normality,
        training=config.training,
        trained_files=config.trained_files,
    )


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` is the GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        # PyTorch without CUDA raises an AssertionError; its first line says what is wrong.
        reason = str(error).splitlines()[0]
        raise UserError(f"Device {name!r} cannot be used: {reason}. Try 'cpu'.") from error
    if device.type == "meta":
        raise UserError("Device 'meta' holds no numbers. Try 'cpu'.")
    return device


def _skeleton(folder: Path, settings: Settings) -> nn.Module:
    """The network without memory behind it: it only knows names, shapes and dtypes."""
    try:
        with torch.device("meta"):
            return build_model(settings.model)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        # Sizes beyond what PyTorch can count end in any of these.
        reason = str(error).splitlines()[0]
        raise refusal(folder, f"{CONFIG_FILE}: no such network can be built: {reason}") from error


def _read_tensors(
    folder: Path, network: nn.Module, settings: Settings, classes: tuple[str, ...], digest: str
) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    expected = {
        _NETWORK + name: Form(_DTYPES[value.dtype], tuple(value.shape))
        for name, value in network.state_dict().items()
    }
    tensors: dict[str, Tensor] = {}
    with refusing(folder, WEIGHTS_FILE):
        found = read_forms(path, _MOST_TENSORS)
        expected |= extra_forms(settings, classes, found)
        check_forms(found, expected)
        if file_digest(path) != digest:
            raise ValueError(
                f"it and {CONFIG_FILE} do not belong together, or the weights are damaged "
                "(another digest)"
            )
        with safe_open(path, framework="pt") as file:
            for name in expected:
                tensors[name] = file.get_tensor(name)
                _check_values(name, tensors[name])
    return tensors


def _check_values(name: str, tensor: Tensor) -> None:
    for part in torch.split(tensor.view(-1), _FINITE_AT_ONCE):
        if tensor.is_floating_point() and not bool(torch.isfinite(part).all()):
            raise UntrustedError(f"its tensor {quoted(name)} holds NaN or infinity")
    if name.endswith("running_var") and bool((tensor < 0).any()):
        raise UntrustedError(f"its tensor {quoted(name)} holds a negative variance")
