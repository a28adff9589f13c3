"""Gradients through the faster kernels are torch's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from soundleap.models import fast_cpu as module
from soundleap.models.fast_cpu import fast_cpu


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (2, 3, 4, 7), (1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_gradients_of_linear(shape: tuple[int, ...], bias: bool) -> None:
    layer, x = torch.nn.Linear(7, 9, bias=bias), noise(*shape).requires_grad_()
    inputs = [x, *layer.parameters()]
    slope = noise(*shape[:-1], 9, seed=1)
    expected = torch.autograd.grad(layer(x), inputs, slope)
    with fast_cpu(x):
        output = layer(x)
    assert type(output.grad_fn).__name__ == "TrainedLinearBackward"
    for found, wanted in zip(torch.autograd.grad(output, inputs, slope), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_only_the_gradients_that_are_needed() -> None:
    layer, x = torch.nn.Linear(7, 9).requires_grad_(False), noise(5, 7).requires_grad_()
    with fast_cpu(x):
        layer(x).sum().backward()
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(5, -1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_gradients_of_attention(dtype: torch.dtype, scale: float | None, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEAST_SCORES", 1)
    monkeypatch.setattr(module, "_ROWS", {torch.float32: 8, torch.bfloat16: 16})
    inputs = [
        noise(2, n, 3, d, seed=i, dtype=dtype).transpose(1, 2).requires_grad_()
        for i, (n, d) in enumerate([(21, 5), (13, 5), (13, 4)])
    ]
    slope = noise(2, 3, 21, 4, seed=9, dtype=dtype)
    precise = [x.detach().float().requires_grad_() for x in inputs]
    wanted = functional.scaled_dot_product_attention(*precise, scale=scale)
    expected = [wanted, *torch.autograd.grad(wanted, precise, slope.float())]
    with fast_cpu(inputs[0]):
        output = functional.scaled_dot_product_attention(*inputs, scale=scale)
    assert type(output.grad_fn).__name__ == "TrainedAttentionBackward"
    tolerance = 1e-5 if dtype == torch.float32 else 6e-2
    for found, aim in zip(
        [output, *torch.autograd.grad(output, inputs, slope)], expected, strict=True
    ):
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), aim, rtol=tolerance, atol=tolerance)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    layer, x = torch.nn.Linear(3, 3), noise(2, 3).requires_grad_()
    with fast_cpu(x):
        output = layer(x)
    (slope,) = torch.autograd.grad((output**2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()
