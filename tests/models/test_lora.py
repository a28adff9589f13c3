"""Adapters: files, merging, and peft's layers."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from soundleap.adapters import check_weight
from soundleap.errors import AdapterError, InputError
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig
from soundleap.models.dit import DiT, DiTConfig
from soundleap.models.lora import (
    Adapter,
    AdapterInfo,
    apply_adapters,
    read_adapter,
    write_adapter,
)
from soundleap.models.unet2d import CROSS_DOWN, CROSS_UP, PLAIN_DOWN, PLAIN_UP, UNet2D, UNet2DConfig
from soundleap.training.lora import (
    add_lora,
    lora_layers,
    lora_parameters,
    merged,
    network_kind,
    pairs_of,
    target_layers,
)


def dit() -> DiT:
    return DiT(DiTConfig(channels=4, text_dim=6, width=16, blocks=2, heads=2, guided=True))


def unet() -> UNet2D:
    return UNet2D(
        UNet2DConfig(
            channels=4, text_dim=6, block_out_channels=(8, 16), attention_heads=(2, 2),
            layers_per_block=1, norm_num_groups=4, down_block_types=(CROSS_DOWN, PLAIN_DOWN),
            up_block_types=(PLAIN_UP, CROSS_UP), freq_bins=4, guided=True,
        )
    )  # fmt: skip


def concat_dit() -> ConcatDiT:
    return ConcatDiT(
        ConcatDiTConfig(channels=4, text_dim=6, width=32, blocks=1, heads=2, guided=True)
    )


MAKERS = {"dit": dit, "unet2d": unet, "concat_dit": concat_dit}


def network_of(kind: str) -> nn.Module:
    torch.manual_seed(1)
    network = MAKERS[kind]()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return network.eval()


def ask(network: nn.Module) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 4, 8, 4) if isinstance(network, UNet2D) else (2, 4, 8)
    with torch.no_grad():
        return network(
            torch.randn(shape, generator=generator),
            torch.tensor([999.0, 19.0]),
            text_embeds=torch.randn(2, 4, 6, generator=generator),
            text_mask=torch.ones(2, 4, dtype=torch.bool),
            w=torch.tensor([1.0, 4.0], dtype=torch.float64),
        )


def trained(network: nn.Module, seed: int = 0) -> nn.Module:
    """Add layers and give them something to do."""
    add_lora(network, rank=3, alpha=6.0, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for layer in lora_layers(network).values():
        weight = layer.lora_B["default"].weight
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return network


def saved(path: Path, network: nn.Module, **changes: object) -> Adapter:
    info = AdapterInfo(
        name="a", network=network_kind(network), rank=3, alpha=6.0, targets=("*",)
    ).model_copy(update=changes)
    write_adapter(path, info, pairs_of(network))
    return read_adapter(path)


@pytest.mark.parametrize("kind", MAKERS)
def test_merging_into_plain_weights_is_what_peft_computes(kind: str, tmp_path: Path) -> None:
    base = network_of(kind)
    before = ask(base)
    with_layers = trained(copy.deepcopy(base))
    wanted = ask(with_layers)
    assert not torch.allclose(before, wanted, atol=1e-3)
    adapter = saved(tmp_path / "a.safetensors", with_layers)
    plain = copy.deepcopy(base)
    apply_adapters(plain, [(adapter, 1.0)])
    assert [type(layer) for layer in plain.modules()] == [type(part) for part in base.modules()]
    torch.testing.assert_close(ask(plain), wanted, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(ask(merged(with_layers)), wanted, rtol=1e-5, atol=2e-6)
    assert list(merged(with_layers).state_dict()) == list(base.state_dict())
    torch.testing.assert_close(ask(with_layers), wanted, rtol=0, atol=0)  # merged() took a copy


@pytest.mark.parametrize("kind", MAKERS)
def test_new_layers_change_nothing_and_alone_are_trained(kind: str) -> None:
    network = network_of(kind)
    before = ask(network)
    add_lora(network, rank=2)
    torch.testing.assert_close(ask(network), before, rtol=1e-6, atol=1e-6)
    assert all("lora_" in name for name in lora_parameters(network))
    assert len(lora_parameters(network)) == 2 * len(lora_layers(network))


def test_first_values_come_from_the_seed_and_leave_the_global_generator_alone() -> None:
    network = network_of("dit")
    state = torch.get_rng_state()
    first, again, other = (
        pairs_of(add_lora(copy.deepcopy(network), rank=2, seed=seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(torch.get_rng_state(), state)
    name = next(iter(first))
    assert torch.equal(first[name].a, again[name].a)
    assert not torch.equal(first[name].a, other[name].a)


def test_adapters_add_up_with_their_weights(tmp_path: Path) -> None:
    base = network_of("dit")
    one, two = (
        saved(tmp_path / f"{seed}.safetensors", trained(copy.deepcopy(base), seed))
        for seed in (1, 2)
    )
    plain = copy.deepcopy(base)
    apply_adapters(plain, [(one, 0.5), (two, -0.25)])
    name = "blocks.0.expand"
    before, after = (network.state_dict()[f"{name}.weight"] for network in (base, plain))
    torch.testing.assert_close(after - before, 0.5 * one.delta(name) - 0.25 * two.delta(name))
    swapped = copy.deepcopy(base)
    apply_adapters(swapped, [(two, -0.25), (one, 0.5)])
    torch.testing.assert_close(ask(swapped), ask(plain), rtol=1e-5, atol=1e-6)


def test_a_weight_of_0_changes_no_bit(tmp_path: Path) -> None:
    base = network_of("dit")
    adapter = saved(tmp_path / "a.safetensors", trained(copy.deepcopy(base)))
    plain = copy.deepcopy(base)
    apply_adapters(plain, [(adapter, 0.0)])
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), base.parameters(), strict=True)
    )


@pytest.mark.parametrize("weight", [5, float("nan"), True, "1"])
def test_weights_out_of_range_are_refused(weight: object) -> None:
    with pytest.raises(InputError, match="an adapter's weight is"):
        check_weight(weight)


def test_targets_choose_layers() -> None:
    network = network_of("dit")
    chosen = target_layers(network, ("blocks.*.self_attention.*",))
    assert set(chosen) == {
        f"blocks.{i}.self_attention.{part}" for i in (0, 1)
        for part in ("query", "key_value", "output")
    }  # fmt: skip
    with pytest.raises(InputError, match=r"targets nothing\.\* match no layer .* it has inward"):
        target_layers(network, ("nothing.*", "blocks.*"))
    with pytest.raises(InputError, match="rank is 0"):
        add_lora(network, rank=0)


def test_files_that_are_no_adapter_or_damaged_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(AdapterError, match=r"a\.safetensors does not exist"):
        read_adapter(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(AdapterError, match=r"can't read adapter .*a\.safetensors"):
        read_adapter(path)
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(AdapterError, match="is no adapter"):
        read_adapter(path)
    network = trained(network_of("dit"))
    saved(path, network)
    write_adapter(path, read_adapter(path).info.model_copy(update={"rank": 4}), pairs_of(network))
    with pytest.raises(AdapterError, match=r"is damaged: layer .* its rank 4"):
        read_adapter(path)


def test_an_adapter_for_another_network_is_refused_by_its_layers(tmp_path: Path) -> None:
    adapter = saved(tmp_path / "a.safetensors", trained(network_of("dit")))
    other = DiT(DiTConfig(channels=4, text_dim=6, width=32, blocks=1, heads=2, guided=True))
    with pytest.raises(AdapterError, match=r"does not fit this network: no layer|layer .* needed"):
        apply_adapters(other, [(adapter, 1.0)])
