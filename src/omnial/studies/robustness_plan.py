"""What the robustness study asks of which models, and how hard."""

from dataclasses import dataclass, replace
from typing import Final

from omnial.robustness.making import SetPlan
from omnial.robustness.white_box import WhiteBoxPlan
from omnial.studies.parts import Demands
from omnial.studies.study_rows import Row

SURROGATE: Final = Row("surrogate", "surrogate", "surrogate")
ROWS: Final = (
    Row("draem", "DRAEM", "draem"),
    Row("jnld", "JNLD", "jnld"),
    Row("omnial", "OmniAL", "omnial"),
    Row(
        "omnial-adversarial",
        "OmniAL, adversarially trained",
        "omnial",
        ("training.adversarial_steps=3", "training.adversarial_epsilon=4"),
    ),
)
"""The judged models: those of the paper's tables, and OmniAL trained against attacks."""


@dataclass(frozen=True)
class RobustnessOptions:
    """How the study is run.

    Attributes:
        size: Name of the size, the same for every model.
        images: Images that each model is trained on.
        overrides: Settings of every model, as `key=value`.
        rows: Names of the rows to compute now; empty is all.
        samples: Samples of each class in the adversarial set.
        white_box_samples: Samples, and test images, of each class that a model's own attacks take.
        white_box_steps: Steps of these attacks, from either start.
        corruption_images: Test images of each class under every corruption.
        gallery: Train each row on the demo data as well, and draw the paper's two figures.
        jobs: Trainings at the same time, each with its share of the cores.
    """

    size: str
    images: int
    overrides: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()
    samples: int = 50
    white_box_samples: int = 10
    white_box_steps: int = 20
    corruption_images: int = 40
    gallery: bool = True
    jobs: int = 1

    @property
    def demands(self) -> Demands:
        """How hard the questions are put."""
        box = WhiteBoxPlan(self.white_box_samples)
        box = replace(box, schedule=replace(box.schedule, steps=self.white_box_steps))
        return Demands(SetPlan(self.samples), box, self.corruption_images)
