"""Faster kernels give the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from soundleap.models import fast_cpu as module
from soundleap.models.fast_cpu import fast_cpu


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(autouse=True)
def no_grad():
    with torch.no_grad():
        yield


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 7), (2, 3, 4, 7), (1, 7)])
@pytest.mark.parametrize("bias", [True, False])
def test_linear(shape: tuple[int, ...], bias: bool) -> None:
    x, layer = noise(*shape), torch.nn.Linear(7, 9, bias=bias)
    expected = layer(x)
    with fast_cpu(x):
        found = layer(x)
        turned = functional.linear(noise(7, 5).t(), layer.weight)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(turned, functional.linear(noise(7, 5).t(), layer.weight))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention(dtype: torch.dtype, scale: float | None, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEAST_SCORES", 1)
    monkeypatch.setattr(module, "_ROWS", {torch.float32: 8, torch.bfloat16: 16})
    query, key, value = (
        noise(2, n, 3, d, seed=i, dtype=dtype).transpose(1, 2)
        for i, (n, d) in enumerate([(21, 5), (13, 5), (13, 4)])
    )
    expected = functional.scaled_dot_product_attention(
        query.float(), key.float(), value.float(), scale=scale
    )
    with fast_cpu(query):
        found = functional.scaled_dot_product_attention(query, key, value, scale=scale)
    assert found.dtype == dtype
    assert found.shape == (2, 3, 21, 4)
    tolerance = 1e-5 if dtype == torch.float32 else 3e-2
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)


def test_attention_with_a_mask_is_torch_s_own(monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEAST_SCORES", 1)
    query = noise(1, 2, 6, 4)
    mask = (torch.arange(6) < 4)[None, None, None]
    expected = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    with fast_cpu(query):
        found = functional.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (3, {"padding": 1}),
        (5, {"padding": 6, "dilation": 3}),
        (4, {"stride": 2, "bias": False}),
        (3, {"groups": 2}),
        (3, {"padding": "same"}),
    ],
)
def test_conv1d(kernel: int, options: dict, monkeypatch) -> None:
    monkeypatch.setattr(module, "_LEAST_FRAMES", 1)
    x, layer = noise(2, 6, 20), torch.nn.Conv1d(6, 8, kernel, **options)
    expected = layer(x)
    with fast_cpu(x):
        found = layer(x)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 5, "padding": 5},
        {"stride": 2, "output_padding": 1},
        {"stride": 3, "dilation": 2, "bias": False},
        {"stride": 2, "groups": 2},
    ],
)
def test_conv_transpose1d(options: dict) -> None:
    x, layer = noise(2, 6, 11), torch.nn.ConvTranspose1d(6, 8, 16, **options)
    expected = layer(x)
    with fast_cpu(x):
        found = layer(x)
    torch.testing.assert_close(found, expected)


def test_gradients_and_half_precision_are_left_alone() -> None:
    layer = torch.nn.Linear(7, 9)
    x = noise(5, 7)
    with torch.enable_grad(), fast_cpu(x):
        layer(x).sum().backward()
    assert layer.weight.grad is not None
    with fast_cpu(x), torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    half = layer.to(torch.bfloat16)
    with fast_cpu(x):
        assert half(x.bfloat16()).dtype == torch.bfloat16
