"""The Lightning module: synthesis, network, objective, weight average."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from omnial.config.settings import Settings
from omnial.errors import RunError
from omnial.models.layout import lay_out, preferred_layout
from omnial.models.system import Output, build_model
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize
from omnial.training.feed import FeedBatch, to_unit
from omnial.training.objective import losses
from omnial.training.schedule import learning_rate


def ramped_average(decay: float) -> Any:
    """An update rule for `AveragedModel`: decay min(d, (1 + t)/(10 + t)) after t updates.

    Without the ramp a short run would keep its random start. Integer buffers are copied.
    """

    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        if not averaged[0].is_floating_point():
            torch._foreach_copy_(averaged, current)
            return
        ramp = ((1.0 + count) / (10.0 + count)).clamp(max=decay).to(averaged[0])
        change = torch._foreach_sub(current, averaged)
        torch._foreach_mul_(change, 1.0 - ramp)
        torch._foreach_add_(averaged, change)

    return update


class TrainingModule(L.LightningModule):
    """One training step: normal images in, synthesized defects, one loss.

    Args:
        settings: The run.
        network: The network to train; None builds one from the settings and the run's seed.
        bf16: Whether the run's convolutions are in bf16.
    """

    def __init__(
        self, settings: Settings, network: nn.Module | None = None, *, bf16: bool = False
    ) -> None:
        super().__init__()
        self._bf16 = bf16
        self.settings = settings
        self.total_steps: int | None = None
        if network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.training.seed)
                network = build_model(settings.model)
        self.network = network
        self.average = AveragedModel(
            self.network,
            multi_avg_fn=ramped_average(settings.training.average_decay),
            use_buffers=True,
        ).requires_grad_(False)

    @property
    def layout(self) -> torch.memory_format:
        """The memory layout that the run's device and precision like."""
        return preferred_layout(self.device, bf16=self._bf16)

    def on_fit_start(self) -> None:
        """Put both networks into the layout of the device that they are on by now."""
        for network in (self.network, self.averaged_network()):
            lay_out(network, self.layout)

    def forward(self, images: Tensor) -> Output:
        """The network itself; the average is `self.average`."""
        return cast(Output, self.network(images))

    def averaged_network(self) -> nn.Module:
        """The network that is shipped: the weight average."""
        return self.average.module

    def synthesize(self, batch: FeedBatch) -> SynthesizedBatch:
        """Draw the step's anomalies, in float32 whatever the training's precision."""
        random = SampleRandom(self.settings.training.seed, batch["step"], batch["places"])
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            return synthesize(
                to_unit(batch["images"]),
                to_unit(batch["textures"]),
                self.settings.synthesis,
                random,
                batch["region"],
            )

    def training_step(self, batch: FeedBatch, batch_idx: int) -> Tensor:
        """The objective's mean over the batch."""
        sample = self.synthesize(batch)
        output = self(sample.anomalous.contiguous(memory_format=self.layout))
        with torch.autocast(self.device.type, enabled=False):
            terms = losses(output, sample, self.settings.objective)
            loss = terms.total(self.settings.objective).mean()
        size = len(sample.mask)
        self.log("loss", loss, prog_bar=True, batch_size=size)
        values = {name: value.mean() for name, value in terms._asdict().items()}
        self.log_dict(values, prog_bar=False, batch_size=size)
        return loss

    def on_train_batch_start(self, batch: FeedBatch, batch_idx: int) -> None:
        """Set the step's learning rate."""
        rate = learning_rate(batch["step"], self.total_steps, self.settings.training)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the weight average: here, so that a checkpoint holds both or none."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.network)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the rate is set at every step."""
        training = self.settings.training
        return torch.optim.Adam(
            self.network.parameters(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def refuse_non_finite(self) -> None:
        """Stop a run whose loss is no longer a number.

        Raises:
            RunError: The last loss is not finite.
        """
        loss = self.trainer.callback_metrics.get("loss")
        if loss is not None and not bool(torch.isfinite(loss)):
            raise RunError(
                f"the loss is no longer a finite number at step {self.trainer.global_step}; "
                "the last checkpoint is kept. Lower training.learning_rate, or check the images"
            )
