"""Offset and 16-bit numbers as the published systems have them."""

from __future__ import annotations

import pytest
import torch

from soundleap.audio.dc import remove_dc, to_int16
from soundleap.errors import InputError


@pytest.mark.parametrize("shape", [(2, 4), (2, 1, 4)])
def test_the_middle_of_each_clip_or_of_all(shape: tuple[int, ...]) -> None:
    waveform = torch.tensor([[0.0, 0.5, 0.25, 0.5], [-0.5, -0.1, -0.2, -0.3]]).reshape(shape)
    clip = remove_dc(waveform)
    assert clip.shape == shape
    middle = torch.tensor([0.25, -0.3]).reshape(2, *[1] * (len(shape) - 1))
    torch.testing.assert_close(clip, waveform - middle)
    torch.testing.assert_close(remove_dc(waveform, per="batch"), waveform)  # -0.5 to 0.5


def test_a_clip_does_not_depend_on_its_neighbours_by_default() -> None:
    waveform = torch.randn(3, 100, generator=torch.Generator().manual_seed(0))
    together = remove_dc(waveform)
    assert torch.equal(remove_dc(waveform[1:2])[0], together[1])
    torch.testing.assert_close(together.amax(1), -together.amin(1))


def test_numbers_are_cut_towards_zero_and_one_wraps() -> None:
    step = 1 / 32768
    waveform = torch.tensor([0.1, -0.1, 0.9 * step, -0.9 * step, -1.0, 1.0, 1.0 - step])
    found = to_int16(waveform)
    assert found.dtype == torch.int16
    assert found.tolist() == [3276, -3276, 0, 0, -32768, -32768, 32767]


@pytest.mark.parametrize("value", [1.001, float("nan")])
def test_samples_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"beyond \[-1, 1\]"):
        to_int16(torch.tensor([value]))


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="per is 'all'"):
        remove_dc(torch.zeros(1, 4), per="all")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="needed"):
        remove_dc(torch.zeros(4))
