from __future__ import annotations

import pytest
import torch

from soundleap.diffusion import (
    NoiseSchedule,
    randn_per_sample,
    sample_consistency,
    sample_generators,
)
from soundleap.errors import InputError


def test_padding_never_changes_a_draw() -> None:
    together = randn_per_sample((2, 5), sample_generators([1, 2]), lengths=[3, 5])
    for row, seed, length in zip(together, (1, 2), (3, 5), strict=True):
        alone = randn_per_sample((2, length), sample_generators([seed]))
        assert torch.equal(row[:, :length], alone[0])
        assert not row[:, length:].any()


@pytest.mark.parametrize("lengths", [[3], [0, 5], [3, 6]])
def test_lengths_must_fit(lengths: list[int]) -> None:
    with pytest.raises(InputError, match="lengths are"):
        randn_per_sample((2, 5), sample_generators([1, 2]), lengths=lengths)


def test_fresh_noise_is_drawn_at_each_samples_length() -> None:
    schedule = NoiseSchedule.scaled_linear()
    times = torch.tensor([999.0, 500.0], dtype=torch.float64)

    def run(seeds: list[int], lengths: list[int]) -> torch.Tensor:
        generators = sample_generators(seeds)
        x_T = randn_per_sample((2, max(lengths)), generators, lengths=lengths)
        f = lambda x_t, t: 0.5 * x_t  # noqa: E731
        return sample_consistency(f, x_T, times, schedule, generators, lengths=lengths)

    together = run([1, 2], [3, 5])
    assert torch.equal(together[0, :, :3], run([1], [3])[0])
    assert torch.equal(together[1], run([2], [5])[0])
