from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.diffusion import (
    NetworkDenoiser,
    NoiseSchedule,
    batched_guidance,
    cfg,
    cfg_to_lcm,
    fourier_features,
    guidance_embedding,
    guided_denoise,
    lcm_to_cfg,
    sinusoidal_embedding,
    to_x_0,
)
from soundleap.errors import InputError

SCHEDULE = NoiseSchedule.scaled_linear()
GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"


def network(x_t: Tensor, t: Tensor, text: Tensor, mask: Tensor | None = None) -> Tensor:
    """A network that treats every sample alone."""
    return torch.tanh(x_t * text.mean(-1, keepdim=True) + t[:, None] / 500)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_scales_zero_and_one_are_the_two_halves():
    cond, uncond = draw(2, 3), draw(2, 4)[:, :3]
    w = torch.tensor([0.0, 1.0])
    guided = cfg(cond, uncond, w)
    assert torch.equal(guided[0], uncond[0])
    torch.testing.assert_close(guided[1], cond[1])
    torch.testing.assert_close(cfg(cond, uncond, 3.0), (1 - 3.0) * uncond + 3.0 * cond)


@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_guidance_is_the_same_for_every_prediction(prediction):
    x_t, cond, uncond = draw(2, 5).double(), draw(2, 6)[:, 1:].double(), draw(2, 7)[:, 2:].double()
    level = SCHEDULE.alpha([900, 20]), SCHEDULE.sigma([900, 20])
    on_outputs = to_x_0(cfg(cond, uncond, 4.0), x_t, *level, prediction)
    on_x_0 = cfg(*(to_x_0(o, x_t, *level, prediction) for o in (cond, uncond)), 4.0)
    torch.testing.assert_close(on_outputs, on_x_0)


@pytest.mark.parametrize("w", [3.0, torch.tensor([0.0, 1.0, 6.0])])
def test_one_batch_or_two_calls(w):
    x_t, t = draw(3, 4), torch.tensor([999.0, 500, 1], dtype=torch.float64)
    text, negative = draw(3, 8), draw(1, 8)
    denoiser = NetworkDenoiser(network, SCHEDULE, "v")
    apart = guided_denoise(denoiser.bind(text=text), denoiser.bind(text=negative), w)
    together = batched_guidance(
        denoiser, {"text": text, "mask": None}, {"text": negative, "mask": None}, w
    )
    torch.testing.assert_close(apart(x_t, t), together(x_t, t))


def test_guidance_conventions():
    assert cfg_to_lcm(5.0) == 4.0
    assert lcm_to_cfg(4.0) == 5.0
    cond, uncond, w = draw(2, 3), draw(2, 5)[:, :3], torch.tensor([2.0, 8.0])
    lcm_form = cond + w[:, None] * (cond - uncond)
    torch.testing.assert_close(cfg(cond, uncond, lcm_to_cfg(w)), lcm_form)


def test_golden_guidance_embedding():
    path = GOLDEN / "audiolcm_solver_a.safetensors"
    if not path.exists():
        pytest.skip(f"reference tensors are not at {path}")
    item = load_file(path)
    for dim in (256, 513):
        expected = item[f"out/guidance_embedding_{dim}"]
        torch.testing.assert_close(
            guidance_embedding(item["in/w"], dim), expected, atol=1e-5, rtol=0
        )


def test_published_guidance_embedding():
    embedding = guidance_embedding(torch.tensor([4.0]))[0]
    expected = torch.tensor([-0.6835, 0.5090, -0.8629, 0.7856])
    torch.testing.assert_close(embedding[:4], expected, atol=1e-4, rtol=0)
    expected = torch.tensor([-0.7299, 0.8608, -0.5053, 0.6187])
    torch.testing.assert_close(embedding[128:132], expected, atol=1e-4, rtol=0)


def test_timestep_embedding():
    t = torch.tensor([0.0, 499.5])
    embedding = sinusoidal_embedding(t, 8)
    frequencies = 10000 ** (-torch.arange(4) / 4)
    angles = t[:, None] * frequencies
    torch.testing.assert_close(embedding, torch.cat([angles.cos(), angles.sin()], 1))
    swapped = sinusoidal_embedding(t, 8, cos_first=False)
    assert torch.equal(swapped, embedding.roll(4, 1))
    assert sinusoidal_embedding(t, 9)[:, -1].tolist() == [0, 0]


def test_fourier_features():
    features = fourier_features(torch.tensor([0.0, 2.0]), torch.tensor([0.25, 0.125]))
    expected = torch.tensor([[1.0, 1, 0, 0], [-1, 0, 0, 1]])
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: cfg(draw(2, 3), draw(2, 4), 1), "cond is"),
        (lambda d: cfg(draw(2, 3), draw(2, 3), torch.ones(3)), "one number or \\[2\\]"),
        (lambda d: batched_guidance(d, {"text": draw(2, 3)}, {}, 1), "same names"),
        (lambda d: batched_guidance(d, {"a": draw(2, 3)}, {"a": draw(2, 4)}, 1), "pad both"),
        (lambda d: batched_guidance(d, {"a": None}, {"a": draw(2, 4)}, 1), "None in both"),
        (lambda d: sinusoidal_embedding(draw(2), 3), "dim is 3"),
        (lambda d: sinusoidal_embedding(draw(2, 2), 8), "needed: \\[B\\]"),
        (lambda d: fourier_features(draw(2, 2), draw(3)), "needed: \\[B\\]"),
    ],
)
def test_wrong_input_is_refused(call, says: str):
    with pytest.raises(InputError, match=says):
        call(NetworkDenoiser(network, SCHEDULE, "v"))
