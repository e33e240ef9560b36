"""`Inspector`: the one way from an image to a decision, on PyTorch or another engine."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnial.config.settings import AS_TRAINED, Reading, Settings
from omnial.data.decode import as_unit, network_input, network_roi, read_rgb
from omnial.data.geometry import Placement, place, region_on, to_source
from omnial.data.image_file import ImageError
from omnial.data.prefetch import prefetch
from omnial.errors import UserError
from omnial.files import StrPath, as_path
from omnial.inference.engines import BackendName, Opened, open_folder, open_model
from omnial.inference.given import Picture, as_array, from_bgr, is_tensor
from omnial.inference.inspection import Inspection
from omnial.inference.outlines import Outline, find_outlines
from omnial.inference.tiling import fits_one_tile, predict_tiles, tile_size
from omnial.models.appearance import appearance_of_frames
from omnial.models.normality import with_normality
from omnial.models.prediction import Backend, Prediction, over_windows
from omnial.models.recogniser import Recogniser
from omnial.models.thresholds import Calibration, is_anomalous

if TYPE_CHECKING:
    from omnial.models.trained_model import TrainedModel

Tile: TypeAlias = int | Literal["auto"] | None
"""Edge of tiles in source pixels; None: none; `auto`: as the thresholds were calibrated."""

_BATCH_PIXELS = 50_000_000
"""Source pixels that end a batch early: large images wait for their score maps in memory."""


class _Loaded(NamedTuple):
    """A decoded picture: the source image (H, W, 3), and its frame (3, h, w)."""

    path: Path | None
    image: NDArray[Any]
    frame: NDArray[Any]
    placement: Placement


class ScoredImage(NamedTuple):
    """An image with score and threshold, at the score map's own resolution, without outlines."""

    loaded: _Loaded
    class_name: str | None
    score: float
    threshold: float
    score_map: NDArray[np.float32]
    placement: Placement
    """Where the source image lies in the map."""
    cell: float = 1.0
    """Map pixels that one network pixel covers."""


class Inspector:
    """A trained model, ready to inspect. Threads may share one Inspector.

    Args:
        folder: A model folder or an export folder.
        backend: `torch`, `onnx`, `openvino`, or `auto` for the one that the folder was made for.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, or `gpu` for OpenVINO.
        batch_size: Images or tiles at once; changes speed and memory alone.
        workers: Threads that decode, and that finish maps and outlines.
        threads: Threads of the engine in one call; None leaves it the choice. PyTorch's number
            holds for the process, so that it is not set here.
        reading: How pictures are read, where that differs from the training.

    Raises:
        UserError: The folder is not usable, the engine does not fit it or is not installed, or
            the device does not exist.
        TypeError: `folder` is no path.

    Example:
        >>> import omnial
        >>> inspector = omnial.Inspector("model")
        >>> found = inspector.inspect("new_pictures/17.png")
        >>> if found.anomalous:
        ...     found.save("17.jpg")
    """

    backend: Backend
    settings: Settings
    """Of the training; `settings.data` says how files become network input."""
    classes: tuple[str, ...]
    calibration: Calibration
    """The thresholds."""
    recogniser: Recogniser
    rois: Mapping[str, NDArray[np.bool_]]
    """Regions of interest (height, width) of the network input, of the classes that have one."""
    training: Mapping[str, Any]
    """Facts about the training."""

    def __init__(
        self,
        folder: StrPath,
        backend: BackendName = "auto",
        *,
        device: str = "auto",
        batch_size: int = 8,
        workers: int = 2,
        threads: int | None = None,
        reading: Reading = AS_TRAINED,
    ) -> None:
        opened = open_folder(as_path(folder, "folder"), backend, device, threads)
        self._take(opened, batch_size, workers)
        self.settings = self.settings.model_copy(update={"data": reading.of(self.settings.data)})

    @classmethod
    def of(cls, model: "TrainedModel", *, batch_size: int = 8, workers: int = 2) -> "Inspector":
        """An Inspector of a model in memory, on the device that it is on."""
        inspector = cls.__new__(cls)
        inspector._take(open_model(model), batch_size, workers)
        return inspector

    def _take(self, opened: Opened, batch_size: int, workers: int) -> None:
        if batch_size < 1 or workers < 1:
            raise ValueError("batch_size and workers must be at least 1")
        self.backend, config, self.recogniser, self.rois, self.normality = opened
        self.settings, self.classes = config.settings, config.classes
        self.calibration, self.training = config.calibration, config.training
        self.batch_size = batch_size
        self.workers = workers

    def __repr__(self) -> str:
        """For a prompt: `<Inspector of gear, tile, with torch>`."""
        return f"<Inspector of {', '.join(self.classes)}, with {self.backend.name}>"

    def warm_up(self) -> None:
        """Run batches of one and of `batch_size`, so that the first image is not the slow one."""
        height, width = self.settings.data.height, self.settings.data.width
        for count in {1, self.batch_size}:
            images = np.zeros((count, 3, height, width), np.float32)
            self.backend.run(images, np.ones((count, height, width), np.bool_))

    # A text is a path here, never an iterable of one-letter paths.
    @overload
    def inspect(  # type: ignore[overload-overlap]
        self,
        source: Picture,
        class_name: str | None = None,
        *,
        tile: Tile = "auto",
        bgr: bool = False,
    ) -> Inspection: ...

    @overload
    def inspect(
        self,
        source: Iterable[Picture],
        class_name: str | None = None,
        *,
        tile: Tile = "auto",
        bgr: bool = False,
    ) -> Iterator[Inspection]: ...

    def inspect(
        self,
        source: Picture | Iterable[Picture],
        class_name: str | None = None,
        *,
        tile: Tile = "auto",
        bgr: bool = False,
    ) -> Inspection | Iterator[Inspection]:
        """Inspect one image, or any number of them in batches.

        Args:
            source: A picture, or an iterable of pictures. A list or tuple is read ahead; any
                other iterable as results are asked for, `batch_size` pictures at a time, in the
                caller's thread: it may fill the same array again and again, and a live source
                gets its answers as soon as a batch is full.
            class_name: The product; None recognises it, image by image. An unknown product gets
                the largest threshold and no region of interest.
            tile: Inspect in overlapping tiles of that many source pixels an edge, each as an
                image of its own. Thresholds hold for what they were calibrated with:
                `omnial calibrate --tile` first.
            bgr: The channels of arrays and tensors are in OpenCV's order, blue first.

        Returns:
            An inspection, or an iterator of one for each picture in order.

        Raises:
            UserError: The model does not know the class, or (`ImageError`) a file cannot be used.
            ValueError: An array is no image, or a tile has no pixel.
            TypeError: It is no picture, nor an iterable of pictures.
        """
        self.check_class(class_name)
        if isinstance(source, str | os.PathLike | np.ndarray | Image.Image) or is_tensor(source):
            pictures: list[Picture] = [source]
            return next(
                self._inspect_all(map(from_bgr, pictures) if bgr else pictures, class_name, tile)
            )
        if isinstance(source, bytes) or not isinstance(source, Iterable):
            raise TypeError(
                "source is a path, an array, a tensor or a Pillow image, or an iterable of these, "
                f"not {type(source).__name__}"
            )
        if bgr:
            several = isinstance(source, Sequence)
            source = [from_bgr(one) for one in source] if several else map(from_bgr, source)
        return self._inspect_all(source, class_name, tile)

    def _inspect_all(
        self, sources: Iterable[Picture], class_name: str | None, tile: Tile
    ) -> Iterator[Inspection]:
        for result in self.each(sources, class_name, tile=tile):
            if isinstance(result, ImageError):
                raise result
            yield result

    def each(
        self, sources: Iterable[Picture], class_name: str | None = None, *, tile: Tile = "auto"
    ) -> Iterator[Inspection | ImageError]:
        """Like `inspect` of an iterable, but a file that cannot be used gives its error in turn."""
        self.check_class(class_name)
        for part in _readable(sources, self.batch_size):
            yield from prefetch(self.finish, self.score(part, class_name, tile=tile), self.workers)

    def score(
        self, sources: Iterable[Picture], class_name: str | None = None, *, tile: Tile = "auto"
    ) -> Iterator[ScoredImage | ImageError]:
        """Score images and find their thresholds, in order, some read ahead; see `finish`."""
        edge = self.calibration.tile if tile == "auto" else tile
        if edge is not None and edge < 1:
            raise ValueError("a tile has at least one pixel")
        loaded = prefetch(self._load, map(self._own, sources), self.workers, 2 * self.workers)
        for batch in _batches(loaded, self.batch_size):
            good = [item for item in batch if isinstance(item, _Loaded)]
            frames = groupby(good, lambda item: item.frame.shape)
            scored_images = (
                one for _, part in frames for one in self._score(list(part), class_name, edge)
            )
            for item in batch:
                yield next(scored_images) if isinstance(item, _Loaded) else item

    def finish(self, scored: ScoredImage | ImageError) -> Inspection | ImageError:
        """Decide about a scored image, and bring score map and outlines to source size."""
        if isinstance(scored, ImageError):
            return scored
        (path, image, *_), name, score, threshold, score_map, placement, cell = scored
        if image.dtype != np.uint8:
            image = np.rint(image * np.float32(255)).astype(np.uint8)
        anomalous = is_anomalous(score, threshold)
        outlines: tuple[Outline, ...] = ()
        if anomalous:
            outlines = find_outlines(score_map, self.calibration.pixel, placement, cell=cell)
        whole = np.clip(to_source(score_map, placement), 0.0, 1.0)
        return Inspection(path, name, score, threshold, anomalous, whole, outlines, image)

    def check_class(self, class_name: str | None) -> None:
        """Refuse a class that the model does not know with a `UserError`; None is no class."""
        check_class(class_name, self.classes)

    def _own(self, source: Picture) -> Path | NDArray[Any] | ImageError:
        """A file, or pixels of our own: the caller may change or close his at once."""
        if isinstance(source, np.ndarray):
            return np.array(source)
        if is_tensor(source):
            return np.array(as_array(source))
        if not isinstance(source, Image.Image):
            return as_path(cast(StrPath, source), "a picture")
        try:
            return read_rgb(source, self.settings.data)
        except ImageError as error:
            return error

    def _load(self, source: Path | NDArray[Any] | ImageError) -> _Loaded | ImageError:
        if isinstance(source, ImageError):
            return source
        try:
            image = read_rgb(source, self.settings.data)
            frame, placement = network_input(image, self.settings.data)
        except ImageError as error:
            return error
        return _Loaded(source if isinstance(source, Path) else None, image, frame, placement)

    def _score(
        self, loaded: Sequence[_Loaded], class_name: str | None, tile: int | None
    ) -> Iterator[ScoredImage]:
        """Score images whose frames are of one size."""
        images = np.stack([as_unit(item.frame) for item in loaded])
        names: list[str | None] = [class_name] * len(loaded)
        valid = self._valid(loaded, names)
        prediction = over_windows(self._run, images, valid, self.settings)
        if class_name is None:
            window = (self.settings.data.height, self.settings.data.width)
            names = self.recogniser.recognise(appearance_of_frames(images, window))
            valid = self._valid(loaded, names)
        prediction = self._decided(prediction, names, valid)
        scores, maps = prediction.scores.tolist(), prediction.score_maps
        for item, name, score, score_map in zip(loaded, names, scores, maps, strict=True):
            threshold = self.calibration.threshold_for(name)
            if tile is None or fits_one_tile(item.image.shape[:2], tile, self.settings.data):
                yield ScoredImage(item, name, score, threshold, score_map, item.placement)
            else:
                yield self._score_in_tiles(item, name, threshold, tile)

    def _decided(
        self, prediction: Prediction, names: Sequence[str | None], valid: NDArray[np.bool_]
    ) -> Prediction:
        """The prediction for known products: with their normality, in their regions of interest."""
        rule = self.settings.model.image_score
        return with_normality(prediction, self.normality, names, valid, rule)

    def _run(self, images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
        return self.backend.run(images, valid).checked()

    def _score_in_tiles(
        self, item: _Loaded, name: str | None, threshold: float, tile: int
    ) -> ScoredImage:
        settings, size = self.settings.data, item.image.shape[:2]
        region = None
        if name is not None and name in self.rois:
            region = region_on(self.rois[name], item.placement)[item.placement.box]

        def run(images: NDArray[np.float32], valid: NDArray[np.bool_]) -> Prediction:
            # A tile shows neither the position nor the scale of a part: the network alone decides.
            alone = self._run(images, valid)._replace(embedding=None)
            return self._decided(alone, [name] * len(images), valid)

        score, score_map = predict_tiles(
            run, item.image, settings, tile, batch_size=self.batch_size, region=region
        )
        height, width = tile_size(tile, settings)
        same = {"height": size[0], "width": size[1], "geometry": "squash"}
        placement = place(size, settings.model_copy(update=same))
        cell = height * width / (settings.height * settings.width)
        return ScoredImage(item, name, score, threshold, score_map, placement, cell)

    def _valid(self, loaded: Sequence[_Loaded], names: Sequence[str | None]) -> NDArray[np.bool_]:
        """(B, H, W): the images' content boxes within their classes' regions of interest."""
        valid = np.stack([network_roi(None, item.placement) for item in loaded])
        for item, name, inside in zip(loaded, names, valid, strict=True):
            if name is not None and name in self.rois:
                inside &= region_on(self.rois[name], item.placement)
        return valid


def hold_process(inspector: Inspector, threads: int | None) -> None:
    """Hold this process to a number of threads where PyTorch runs an Inspector's network.

    At equal numbers, scores are equal bit for bit; else the last digit of float32 may differ.
    """
    if threads is not None and inspector.backend.name == "torch":
        import torch

        torch.set_num_threads(threads)


def score_files(model: "TrainedModel", paths: Sequence[Path], class_name: str) -> list[float]:
    """Scores of files of a product as an inspection gives them: also in tiles."""
    scores = []
    for scored in Inspector.of(model).score(paths, class_name):
        if isinstance(scored, ImageError):
            raise scored
        scores.append(scored.score)
    return scores


def check_class(class_name: str | None, classes: Sequence[str]) -> None:
    """Refuse a class that is none of a model's; None is not one."""
    if class_name is not None and class_name not in classes:
        unknown = f"The model does not know the class {class_name!r}."
        raise UserError(f"{unknown} Its classes are {', '.join(classes)}.")


def _readable(sources: Iterable[Picture], size: int) -> Iterator[Iterable[Picture]]:
    """What may be read before results are given: all of a sequence, `size` pictures of a stream."""
    if isinstance(sources, Sequence):
        yield sources
        return
    rest = iter(sources)
    for first in rest:
        yield chain([first], islice(rest, size - 1))


def _batches(
    items: Iterable[_Loaded | ImageError], batch_size: int
) -> Iterator[list[_Loaded | ImageError]]:
    """Batches of at most `batch_size` files, ended early by many source pixels."""
    batch: list[_Loaded | ImageError] = []
    pixels = 0
    for item in items:
        batch.append(item)
        if isinstance(item, _Loaded):
            pixels += item.image.shape[0] * item.image.shape[1]
        if len(batch) >= batch_size or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
