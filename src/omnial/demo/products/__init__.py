"""What draws each product class: `KINDS`, its defects, and `build`, its surface.

`build(canvas, rng, defect)` takes the same draws from `rng` whatever the defect is, so that
the surface is the same but for it.
"""
