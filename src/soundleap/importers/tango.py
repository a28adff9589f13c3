"""TANGO: a text-to-audio diffusion model, and the teacher's form of ConsistencyTTA.

Source: Ghosal et al., TANGO (2023); names of revision 34ecd38.
"""

from __future__ import annotations

from soundleap.bundle_schema import Sampling
from soundleap.importers.consistencytta import DURATION_IN_S


def sampling() -> Sampling:
    """How TANGO is asked: 200 steps of DDPM with guidance 3."""
    return Sampling(
        prediction="v",
        default_teacher_steps=200,
        max_teacher_steps=500,
        default_guidance_scale=3.0,
        teacher_guidance_range=(1.0, 20.0),
        min_duration_in_s=0.5,
        max_duration_in_s=DURATION_IN_S,
        default_duration_in_s=DURATION_IN_S,
        teacher_solver="ddpm",
        teacher_spacing="leading",
    )
