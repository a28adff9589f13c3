"""AdamW and one step of it, the learning rate, and averages, in closed form."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from soundleap.training.ema import make_ema, update_ema, warm_decay
from soundleap.training.loop import learning_rate
from soundleap.training.optimise import adamw, descend, descend_in_parts
from soundleap.training.processes import make_accelerator
from soundleap.training.settings import RunSettings

SETTINGS = RunSettings(run_dir="x", mixed_precision="no", learning_rate=0.5, weight_decay=0.2)


def linear() -> nn.Linear:
    module = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        module.weight.copy_(torch.tensor([[1.0, -2.0]]))
    return module


@pytest.mark.parametrize("accumulation", [0, 1, 3])
@pytest.mark.parametrize("gradient_clip", [1.0, 100.0])
def test_the_gradient_is_that_of_the_mean_and_clipped(
    accumulation: int, gradient_clip: float
) -> None:
    accelerator, module = make_accelerator(SETTINGS), linear()
    optimizer = adamw(module, SETTINGS)
    inputs = torch.tensor([[3.0, 0.0], [0.0, 8.0], [3.0, 0.0], [0.0, 0.0]])

    def losses(items: slice) -> dict[str, Tensor]:
        return {"loss": module(inputs[items])[:, 0], "twice": 2 * module(inputs[items])[:, 0]}

    step = (
        descend_in_parts(
            accelerator, module, optimizer, losses,
            count=4, gradient_clip=gradient_clip, accumulation=accumulation,
        )
        if accumulation
        else descend(accelerator, module, optimizer, losses(slice(4))["loss"].mean(), gradient_clip)
    )  # fmt: skip
    assert float(step.gradient) == pytest.approx(2.5)  # of (1.5, 2)
    assert float(step.means["loss"]) == pytest.approx(-2.5)
    assert float(step.means.get("twice", step.means["loss"] * 2)) == pytest.approx(-5.0)
    clipped = torch.tensor([[1.5, 2.0]]) * min(1.0, gradient_clip / 2.5)
    moment = optimizer.state[module.weight]["exp_avg"]  # 1 - 0.9 of the gradient
    torch.testing.assert_close(moment, 0.1 * clipped, rtol=1e-5, atol=1e-6)


def test_weights_decay_where_there_is_no_gradient() -> None:
    accelerator, module = make_accelerator(SETTINGS), linear()
    descend(accelerator, module, adamw(module, SETTINGS), 0.0 * module.weight.sum(), 1.0)
    torch.testing.assert_close(module.weight.data, 0.9 * torch.tensor([[1.0, -2.0]]))


def test_learning_rate_warms_up_stays_and_falls() -> None:
    settings = RunSettings(
        run_dir="x", iterations=100, warmup_iterations=10, decay_share=0.5, learning_rate=1.0,
        final_learning_rate=0.1,
    )  # fmt: skip
    rates = [learning_rate(settings, i) for i in range(120)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert set(rates[10:50]) == {1.0}
    assert rates[75] == pytest.approx(0.55)
    assert rates[100:] == pytest.approx([0.1] * 20)
    assert all(a >= b for a, b in pairwise(rates[9:]))


def test_learning_rate_without_warm_up_or_decay() -> None:
    settings = RunSettings(run_dir="x", iterations=10, warmup_iterations=0, decay_share=0.0)
    assert {learning_rate(settings, i) for i in range(10)} == {settings.learning_rate}


def test_ema_is_the_weighted_sum_and_copies_buffers() -> None:
    module = nn.BatchNorm1d(3)
    average = make_ema(module)
    assert not any(p.requires_grad for p in average.parameters())
    with torch.no_grad():
        module.weight += 2.0
    module.running_mean += 5.0
    update_ema(average, module, 0.75)
    torch.testing.assert_close(average.weight, torch.full((3,), 1.5))
    torch.testing.assert_close(average.running_mean, torch.full((3,), 5.0))
    assert warm_decay(0.9, 0) == 0.1
    assert warm_decay(0.9, 10**6) == 0.9
