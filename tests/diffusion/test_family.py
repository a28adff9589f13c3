"""The published distillation step, put together from the parts of this package."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from soundleap.diffusion import (
    ConsistencyFunction,
    NetworkDenoiser,
    NoiseSchedule,
    ddim_step,
    guided_denoise,
    lcm_to_cfg,
)

SCHEDULE = NoiseSchedule.scaled_linear()
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_golden_distillation_step_of_audiolcm(case: str):
    """Given the networks' stored outputs, the solver's step and the loss come out as stored."""
    path = GOLDEN / "audiolcm_distill_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    item = load_file(path)

    def answers(name: str) -> NetworkDenoiser:
        return NetworkDenoiser(lambda x_t, t: item[f"out/{case}/{name}"], SCHEDULE, "eps")

    t = item[f"in/{case}/t"]
    s = (t - 20).clamp(min=0)
    w = lcm_to_cfg(4 + 8 * item[f"in/{case}/u"])
    x_t = SCHEDULE.add_noise(item["in/x_start"], item[f"in/{case}/noise"], t)
    assert torch.equal(x_t, item[f"out/{case}/x_noisy"])
    teacher = guided_denoise(answers("teacher_eps_cond"), answers("teacher_eps_uncond"), w)
    x_s = ddim_step(teacher, x_t, t, s, SCHEDULE)
    torch.testing.assert_close(x_s, item[f"out/{case}/x_prev"], atol=1e-5, rtol=0)
    online, target = (ConsistencyFunction(answers(name)) for name in ("student_eps", "target_eps"))
    error = online(x_t, t) - target(x_s, s)
    loss = ((error**2 + 1e-6).sqrt() - 1e-3).mean()
    torch.testing.assert_close(loss, item[f"out/{case}/loss"])
