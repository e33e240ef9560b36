"""A moulded ivory gear wheel with five lightening holes on a dark green belt."""

from collections.abc import Mapping

import numpy as np

from omnial.demo.canvas import ORIGIN, TURN, Canvas, Field, along, norm, ridge, smooth
from omnial.demo.defects import Defect, contamination, crack
from omnial.demo.surface import Surface, varied

KINDS = ("contamination", "crack", "missing_part")

_TEETH = 18
_ROOT = 0.68
_TIP = 0.83


def build(canvas: Canvas, rng: np.random.Generator, defect: Defect) -> Surface:
    """Draw the wheel."""
    surface = Surface.plain(canvas, varied(rng, (38, 66, 58), 0.05), 0.03)
    surface.height += 0.004 * np.sin(52.0 * (canvas.x + 0.6 * canvas.y))
    surface.mottle(canvas.cloud(rng, 30.0), 0.1)
    wheel = canvas.posed(rng, turn=0.12, shift=0.03, zoom=0.02)

    stumps: dict[int, Field] = {}
    if defect.kind == "missing_part":
        first = int(defect.rng.integers(_TEETH))
        for k in range(1 + int(2.4 * defect.severity)):
            # A broken tooth ends at a stump of random height and slant.
            break_line = 0.02 * wheel.cloud(defect.rng, 3.5, 1)
            stumps[(first + k) % _TEETH] = _ROOT + defect.rng.uniform(0.0, 0.04) + break_line
    body = _body(wheel, stumps)
    cover = wheel.cover(body)
    surface.put(canvas, cover, varied(rng, (222, 212, 188), 0.025), 0.2, (0.07, 0.035, 0.8))
    surface.height *= 1.0 - cover
    surface.mottle(wheel.cloud(rng, 6.0, 3) * cover, 0.02)
    radius = norm(wheel.x, wheel.y)
    surface.height += 0.05 * smooth(0.0, -0.035, body)
    surface.height -= 0.04 * smooth(0.6, 0.57, radius) * smooth(0.3, 0.33, radius) * cover
    surface.dim(ridge(radius - 0.58, 0.015) * cover, 0.3)
    surface.dim(ridge(radius - 0.315, 0.015) * cover, 0.3)

    if defect.kind == "crack":
        angle = defect.rng.uniform(0.0, TURN)
        line = (along(ORIGIN, angle, 0.17), angle, defect.between(0.42, 0.62))
        crack(surface, wheel, defect, line, cover)
    elif defect.kind == "contamination":
        contamination(surface, wheel, defect, 0.45)
    return surface


def _body(wheel: Canvas, stumps: Mapping[int, Field]) -> Field:
    """Approximate signed distance to the wheel; `stumps` cuts teeth off at that radius."""
    radius = norm(wheel.x, wheel.y)
    turn = np.arctan2(wheel.y, wheel.x) * (_TEETH / TURN)
    tooth = np.round(turn)
    arc = np.abs(turn - tooth) * (TURN / _TEETH) * radius
    flank = arc - (0.082 - 0.30 * (radius - _ROOT))
    teeth = np.maximum(np.maximum(flank, radius - _TIP), _ROOT - 0.1 - radius)
    for number, stump in stumps.items():
        teeth = np.where(tooth % _TEETH == number, np.maximum(teeth, radius - stump), teeth)
    body = np.minimum(radius - _ROOT, teeth)
    for k in range(5):
        body = np.maximum(body, -wheel.disc(along(ORIGIN, TURN * k / 5, 0.45), 0.095))
    bore = np.minimum(wheel.disc(ORIGIN, 0.15), wheel.box((0.0, -0.16), (0.04, 0.05)))
    wheel_alone: Field = np.maximum(body, -bore)
    return wheel_alone
