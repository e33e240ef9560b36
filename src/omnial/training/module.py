"""The Lightning module: synthesis, network, objective, weight average."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from omnial.attacks.ball import Ball
from omnial.attacks.pgd import Schedule, attack, undisturbed
from omnial.config.settings import Settings
from omnial.data.dataset import to_unit
from omnial.distributed import collectives
from omnial.errors import RunError
from omnial.metrics.reconstruction import erased, running_figures
from omnial.models.channels_last import to_channels_last
from omnial.models.system import Output, build_model
from omnial.synthesis.random import SampleRandom
from omnial.synthesis.recipe import SynthesizedBatch, synthesize
from omnial.training.average import WeightAverage
from omnial.training.crops import halved, random_crops
from omnial.training.feed import FeedBatch
from omnial.training.objective import losses, training_loss
from omnial.training.schedule import is_quarter, learning_rate

LOG_STEPS = 10
"""Steps from one row of the logs to the next."""


class TrainingModule(L.LightningModule):
    """One training step: normal images in, synthesized defects, one loss.

    Args:
        settings: The run.
        network: The network to train; None builds one from the settings and the run's seed.
    """

    def __init__(self, settings: Settings, network: nn.Module | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.total_steps: int | None = None
        self.gradient_norm = torch.zeros(())
        if network is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(settings.training.seed)
                network = build_model(settings.model)
        # Before the average copies it, and before DDP lays out its buckets in the same order.
        self.network = to_channels_last(network)
        self.average = WeightAverage(self.network, settings.training.average_decay)

    def forward(self, images: Tensor) -> Output:
        """The network itself; the average is `self.average`."""
        return cast(Output, self.network(images))

    def averaged_network(self) -> nn.Module:
        """The network that is shipped: the weight average."""
        return self.average.module

    def synthesize(self, batch: FeedBatch) -> SynthesizedBatch:
        """Draw the step's anomalies, in float32 whatever the training's precision."""
        training = self.settings.training
        random = SampleRandom(training.seed, batch["step"], batch["places"])
        with torch.autocast(self.device.type, enabled=False), torch.no_grad():
            images, textures, region = batch["images"], batch["textures"], batch["region"]
            images, textures = to_unit(images), to_unit(textures)
            if is_quarter(batch["step"], self.total_steps, training):
                # Crops keep the scale of a texture, smaller images the place of a part.
                if batch["step"] % 2:
                    images, textures, region = random_crops((images, textures, region), random)
                else:
                    images, textures, region = map(halved, (images, textures, region))
            return synthesize(images, textures, self.settings.synthesis, random, region)

    def perturb(self, sample: SynthesizedBatch, batch: FeedBatch) -> SynthesizedBatch:
        """Attack the step's anomalous images in the network as it stands (Madry et al. 2018).

        The targets stay those of the unattacked sample. The attack leaves no trace in the network:
        it is in eval mode meanwhile, so batch norm's statistics are those of trained-on images.
        The network runs in the training's precision: a sign is all that a step takes of a gradient.
        """
        training = self.settings.training
        random = SampleRandom(training.seed, batch["step"], batch["places"])
        with undisturbed(self.network, exact=False):
            result = attack(
                training_loss(self.network, sample, self.settings.objective),
                sample.anomalous,
                Ball(training.adversarial_epsilon / 255.0),
                Schedule(training.adversarial_steps),
                random,
            )
        return sample._replace(anomalous=result.images)

    def training_step(self, batch: FeedBatch, batch_idx: int) -> Tensor:
        """The objective's mean over the batch."""
        sample = self.synthesize(batch)
        if self.settings.training.adversarial_steps:
            sample = self.perturb(sample, batch)
        output = self(sample.anomalous)
        with torch.autocast(self.device.type, enabled=False):
            terms = losses(output, sample, self.settings.objective)
            loss = terms.total(self.settings.objective).mean()
        values = {"loss": loss, **{name: value.mean() for name, value in terms._asdict().items()}}
        # Means over the whole batch: all processes see the same, and stop at the same step.
        if (batch["step"] + 1) % LOG_STEPS == 0:
            # Elsewhere they would be thrown away.
            parts = running_figures(
                output.reconstruction.detach(), sample.anomalous, sample.normal, sample.mask
            )
            values |= dict(zip(("psnr", "left", "drawn"), parts, strict=True))
        means = dict(zip(values, collectives.mean(torch.stack(list(values.values()))), strict=True))
        if "drawn" in means:
            means["erased"] = erased(means.pop("left"), means.pop("drawn"))
        self.log_dict(means, batch_size=len(sample.mask))
        return loss

    def on_train_batch_start(self, batch: FeedBatch, batch_idx: int) -> None:
        """Set the step's learning rate."""
        rate = learning_rate(batch["step"], self.total_steps, self.settings.training)
        for parameters in self.trainer.optimizers[0].param_groups:
            parameters["lr"] = rate

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then update the weight average: here, so that a checkpoint holds both or none."""
        # Read before the step, which counts itself.
        step = self.trainer.global_step
        super().optimizer_step(*args, **kwargs)
        self.average.update(self.network, step)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam; the rate is set at every step."""
        training = self.settings.training
        return torch.optim.Adam(
            self.network.parameters(),
            lr=training.learning_rate,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm over all gradients.

        Lightning refuses to do it for a fused optimizer in mixed precision, since one that
        unscales its gradients itself would clip scaled ones; bf16 scales none.
        """
        self.gradient_norm = nn.utils.clip_grad_norm_(
            self.network.parameters(), self.settings.training.gradient_clip
        )

    def is_finite(self) -> bool:
        """Whether the last step's loss and gradient are numbers: a loss can be one alone."""
        loss = self.trainer.callback_metrics.get("loss", 0.0)
        return bool(torch.isfinite(loss + self.gradient_norm))

    def refuse_non_finite(self) -> None:
        """Stop a run that is no longer in numbers.

        Raises:
            RunError: The last loss or its gradient is not finite.
        """
        if not self.is_finite():
            raise RunError(
                "the loss or its gradient is no longer a finite number at step "
                f"{self.trainer.global_step}; the last checkpoint is kept. Lower "
                "training.learning_rate, or check the images"
            )
