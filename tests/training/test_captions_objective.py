"""Consistency distillation from captions alone, in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gaussian_networks import SCHEDULE, draws, flow, make, noise, student, text
from pydantic import ValidationError
from torch import Tensor

from soundleap.errors import InputError
from soundleap.training.objectives import ConsistencyDraws, DistillationAxes

AXES: dict[str, Any] = {"data": "captions", "top_rule": "unit_noise"}


def with_start(interval: Tensor, w: float = 3.0) -> ConsistencyDraws:
    drawn = draws(interval, w)
    start = noise(len(interval), 3, 5, seed=7)
    return ConsistencyDraws(drawn.interval, drawn.w, drawn.eps, start)


@pytest.mark.parametrize(("rule", "level"), [("unit_noise", 1.0), ("noise", None)])
def test_it_starts_from_noise_and_from_the_targets_own_answers(
    rule: str, level: float | None
) -> None:
    level = float(SCHEDULE.sigma(999.0)) if level is None else level
    objective = make(DistillationAxes(**{**AXES, "top_rule": rule}))
    interval, positive = torch.tensor([0, 20, 49]), text(0.3, 0.2, -0.5)
    drawn = with_start(interval)
    terms = objective(torch.zeros(3, 3, 5).double(), positive, text(0.0), drawn)
    assert drawn.start is not None
    top = torch.full((3,), 999.0).double()
    own = objective.function(student, positive, drawn.w)(level * drawn.start, top)
    torch.testing.assert_close(terms.x_t[:2], SCHEDULE.add_noise(own, drawn.eps, terms.t)[:2])
    torch.testing.assert_close(terms.x_t[2], level * drawn.eps[2])
    torch.testing.assert_close(terms.loss, objective.weight(terms.t) * terms.distance)
    assert torch.equal(terms.target_query.t.double(), terms.s)


def test_recordings_have_no_part_in_it() -> None:
    objective, drawn = make(DistillationAxes(**AXES)), with_start(torch.tensor([3, 30]))
    found = [
        objective(x_0, text(0.3, 0.2), text(0.0), drawn).loss
        for x_0 in (noise(2, 3, 5), torch.zeros(2, 3, 5).double())
    ]
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_with_a_perfect_target_own_answers_are_samples_of_the_teacher() -> None:
    def perfect(x_t: Tensor, t: Tensor, *, text_embeds: Tensor, **_: Any) -> Tensor:
        return flow(x_t, text_embeds[:, 0, 0], t, torch.full_like(t, -1.0))

    axes = DistillationAxes(**AXES, student_prediction="x0", guidance_range=(1, 1))
    objective = make(axes, target=perfect)
    like, positive = torch.zeros(4000, 3, 5).double(), text(*[0.7] * 4000)
    drawn = objective.draw(like, torch.Generator().manual_seed(0))
    own = objective.own_answer(like, positive, drawn)
    assert float(own.mean()) == pytest.approx(0.7, abs=0.03)  # unit noise holds no trace of it
    assert float(own.std()) == pytest.approx(0.4, abs=0.02)


def test_an_item_does_not_depend_on_its_batch_or_its_padding() -> None:
    objective = make(DistillationAxes(**AXES))
    drawn = with_start(torch.tensor([0, 20, 49]))
    mask = torch.arange(5) < torch.tensor([[5], [3], [5]])
    positive = {**text(0.3, 0.2, -0.5), "latent_mask": mask}
    negative = {**text(0.0, 0.0, 0.0), "latent_mask": mask}
    like = torch.zeros(3, 3, 5).double()
    together = objective(like, positive, negative, drawn)
    for i in range(3):
        one = slice(i, i + 1)
        halves = ({k: v[one] for k, v in part.items()} for part in (positive, negative))
        alone = objective(like[one], *halves, drawn.part(one))
        torch.testing.assert_close(alone.loss, together.loss[one])
    assert not objective.own_answer(like, positive, drawn)[1, :, 3:].any()


def test_what_contradicts_it_is_refused_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        DistillationAxes(data="captions", bottom_rule="data", boundary="identity")
    for part in ("there is no true x_0", "the noisiest point holds no data"):
        assert part in str(caught.value)
    with pytest.raises(ValidationError, match="it needs recordings at all levels of noise"):
        DistillationAxes(data="captions", objective="guided")
    objective = make(DistillationAxes(**AXES))
    with pytest.raises(InputError, match="the draws hold no start"):
        objective(noise(1, 3, 5), text(0.1), text(0.0), draws(torch.tensor([0])))
