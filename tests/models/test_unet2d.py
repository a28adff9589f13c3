"""The 2-D U-Net: reference tensors of the published ones, and what holds at any size."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.errors import InputError
from soundleap.importers.keys_2d import unet2d_config, unet2d_name, unet2d_state
from soundleap.models.store import load_state, read_config, save_module
from soundleap.models.unet2d import FULL, LIGHT, LIGHT_STUDENT, XL, UNet2D, UNet2DConfig

pytest.importorskip("diffusers")

GOLDEN = Path(__file__).parents[2].parent / "shared" / "golden"
TINY = UNet2DConfig(
    text_dim=12,
    block_out_channels=(16, 24),
    attention_heads=(3, 5),  # heads of 5 and 4: neither divides its level
    layers_per_block=1,
    norm_num_groups=8,
    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    freq_bins=4,
    guided=True,
)


def golden(item: str) -> tuple[dict[str, Tensor], dict]:
    path = GOLDEN / f"{item}_a.safetensors"
    if not path.exists():
        pytest.skip("no reference tensors beside the repository")
    return load_file(path), json.loads(path.with_suffix(".json").read_text())


def published(tensors: dict[str, Tensor], constructor: dict, prefix: str = "") -> UNet2D:
    start = f"weights/{prefix}"
    state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    config = unet2d_config(
        state,
        attention_heads=tuple(constructor["attention_head_dim"]),
        norm_num_groups=constructor["norm_num_groups"],
    )
    assert config.block_out_channels == tuple(constructor["block_out_channels"])
    assert config.down_block_types == tuple(constructor["down_block_types"])
    assert config.up_block_types == tuple(constructor["up_block_types"])
    network = UNet2D(config).eval()
    network.load_state_dict(unet2d_state(state))
    return network


def make(config: UNet2DConfig = TINY, seed: int = 0) -> UNet2D:
    torch.manual_seed(seed)
    return UNet2D(config).eval()


def inputs(batch: int = 2, length: int = 8, seed: int = 1) -> tuple[Tensor, Tensor, dict]:
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn(batch, 8, length, 4, generator=generator)
    text = torch.randn(batch, 5, 12, generator=generator)
    mask = torch.arange(5) < torch.tensor([5, 3, 1])[:batch, None]
    t = torch.tensor([999.0, 411.353, 0.0])[:batch]
    w = torch.tensor([4.0, 1.0, 6.0])[:batch]
    return x_t, t, {"text_embeds": text, "text_mask": mask, "w": w}


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())


@pytest.mark.parametrize("case", range(5))
@torch.no_grad()
def test_golden_guided_unet_and_its_parts(case: int) -> None:
    tensors, facts = golden("ctta_guided_unet")
    network = published(tensors, facts["constructor"])
    found: dict[str, Tensor] = {}
    for name, module in network.unet.named_modules():
        module.register_forward_hook(
            lambda _, __, out, name=name: found.update(
                {name: out[0] if isinstance(out, tuple) else out}
            )
        )
    mask = tensors["in/mask"].bool()
    found["sample"] = network(
        tensors["in/sample"],
        tensors[f"in/case{case}/t"].expand(2),
        text_embeds=tensors["in/context"],
        text_mask=torch.ones_like(mask) if case == 2 else mask,
        w=tensors[f"in/case{case}/w"].expand(2),
    )
    outputs = [name for name in tensors if name.startswith(f"out/case{case}/")]
    assert len(outputs) == (14 if case == 0 else 1)
    for name in outputs:
        part = name.rpartition("/")[2]
        if part != "guidance_proj":  # a function here, and no module
            part = part.replace("guidance_embedding", "class_embedding")
            assert_close(found[part], tensors[name])


def test_golden_gradients() -> None:
    tensors, facts = golden("ctta_guided_unet")
    network = published(tensors, facts["constructor"])
    output = network(
        tensors["in/sample"],
        tensors["in/case1/t"],
        text_embeds=tensors["in/context"],
        text_mask=tensors["in/mask"].bool(),
        w=tensors["in/case1/w"],
    )
    loss = output.square().mean()
    loss.backward()
    assert_close(loss.detach(), tensors["out/grad/loss"])
    parameters = dict(network.named_parameters())
    names = [n for n in tensors if n.startswith("out/grad/") and n != "out/grad/loss"]
    assert len(names) == 8
    for name in names:
        gradient = parameters[unet2d_name(name.removeprefix("out/grad/"))].grad
        assert gradient is not None
        assert_close(gradient, tensors[name])


@torch.no_grad()
def test_golden_unet_of_tango() -> None:
    tensors, facts = golden("tango_unet_sampling")
    network = published(tensors, facts["constructor"]["unet"], "unet.")
    assert network.config.prediction == "v"
    mask = tensors["in/net/mask"].bool()
    every = torch.ones_like(mask)
    for time, keep, name in [
        ("t0", mask, "sample0"),
        ("t1", mask, "sample1"),
        ("t0", every, "sample_nomask"),
    ]:
        found = network(
            tensors["in/net/sample"],
            tensors[f"in/net/{time}"].expand(2),
            text_embeds=tensors["in/net/context"],
            text_mask=keep,
        )
        assert_close(found, tensors[f"out/net/{name}"])


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (FULL, 865_933_768),
        (replace(FULL, guided=True), 869_213_768),
        (LIGHT, 557_109_964),
        (LIGHT_STUDENT, 559_209_676),
        (XL, 891_492_808),
    ],
)
def test_published_sizes(config: UNet2DConfig, count: int) -> None:
    with torch.device("meta"):
        network = UNet2D(config)
    assert sum(value.numel() for value in network.state_dict().values()) == count


@torch.no_grad()
def test_an_item_does_not_depend_on_its_batch() -> None:
    network = make()
    x_t, t, conditions = inputs(3)
    together = network(x_t, t, **conditions)
    for i in range(3):
        one = {name: value[i : i + 1] for name, value in conditions.items()}
        torch.testing.assert_close(network(x_t[i : i + 1], t[i : i + 1], **one)[0], together[i])


@torch.no_grad()
def test_masked_text_and_its_padding_do_not_matter() -> None:
    network = make()
    x_t, t, conditions = inputs()
    expected = network(x_t, t, **conditions)
    mask = conditions["text_mask"]
    text = conditions["text_embeds"].masked_fill(~mask[:, :, None], 7.0)
    padded = torch.nn.functional.pad(text, (0, 0, 0, 4), value=3.0)
    longer = torch.nn.functional.pad(mask, (0, 4))
    found = network(x_t, t, text_embeds=padded, text_mask=longer, w=conditions["w"])
    torch.testing.assert_close(found, expected)


@torch.no_grad()
def test_guidance_and_any_length() -> None:
    network = make()
    x_t, t, conditions = inputs(length=11)
    found = network(x_t, t, **conditions)
    assert found.shape == (2, 8, 11, 4)
    other = {**conditions, "w": conditions["w"] + 1e-3}
    assert torch.equal(found, network(x_t, t, **other))  # a new guidance input has no effect yet
    torch.nn.init.normal_(network.unet.class_embedding.linear_2.weight)
    found = network(x_t, t, **conditions)
    assert not torch.equal(found, network(x_t, t, **other))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_frequencies_stay_in_float32(dtype: torch.dtype) -> None:
    network = make()
    before = network.frequencies
    assert before is not None
    x_t, t, conditions = inputs()
    expected = network(x_t, t, **conditions)
    network.to(dtype)
    assert network.unet.conv_in.weight.dtype == dtype
    assert network.frequencies is not None
    assert torch.equal(network.frequencies, before)
    found = network(x_t, t, **conditions)
    assert found.dtype == torch.float32
    assert_close(found, expected, 0.1)
    assert torch.equal(network.state_dict()["frequencies"], before)


def test_frequencies_are_never_trained() -> None:
    network = make().requires_grad_(False).requires_grad_(True)
    frozen = [name for name, value in network.named_parameters() if not value.requires_grad]
    assert frozen == ["frequencies"]


@torch.no_grad()
def test_autocast_and_channels_last() -> None:
    network = make()
    x_t, t, conditions = inputs()
    expected = network(x_t, t, **conditions)
    network.to(memory_format=torch.channels_last)
    assert_close(network(x_t, t, **conditions), expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x_t, t, **conditions)
    assert_close(found, expected, 0.1)


def test_checkpointed_gradients_are_the_same() -> None:
    x_t, t, conditions = inputs()
    gradients: list[list[Tensor | None]] = []
    for on in (False, True):
        network = make().train()
        network.checkpoint_gradients(on)
        network(x_t, t, **conditions).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


def test_a_file_holds_it_all(tmp_path: Path) -> None:
    network = make()
    save_module(tmp_path / "x.safetensors", network, asdict(network.config))
    values = read_config(tmp_path / "x.safetensors")
    assert values["kind"] == "unet2d"
    config = UNet2DConfig(**values)
    assert config == network.config
    other = make(config, seed=9)
    load_state(tmp_path / "x.safetensors", other)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())


def test_wrong_calls_are_refused() -> None:
    network, plain = make(), make(replace(TINY, guided=False))
    x_t, t, conditions = inputs()
    with pytest.raises(ValueError, match="w must not be given"):
        plain(x_t, t, **conditions)
    with pytest.raises(ValueError, match="latent_mask must be None"):
        network(x_t, t, latent_mask=torch.ones(2, 8, dtype=torch.bool), **conditions)
    del conditions["w"]
    with pytest.raises(ValueError, match="w must be given"):
        network(x_t, t, **conditions)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"block_out_channels": (16, 20)}, "multiples of norm_num_groups, 8"),
        ({"attention_heads": (3,)}, "one for each of the 2"),
        ({"attention_heads": (3, 25)}, "attention_heads is 25 at width 24"),
        ({"up_block_types": ("UpBlock2D", "Up")}, r"unknown block types \['Up'\]"),
    ],
)
def test_wrong_sizes_are_refused(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(TINY, **change)


def test_importing_the_published_networks_imports_no_library_of_theirs() -> None:
    code = (
        "import sys, soundleap.models.unet2d, soundleap.models.vae2d, soundleap.models.hifigan, "
        "soundleap.models.text_t5, soundleap.importers.keys_2d\n"
        "assert not {'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
