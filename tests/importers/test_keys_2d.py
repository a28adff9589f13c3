"""Published names, listed at full size, against the modules that they are for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from soundleap.errors import BundleError
from soundleap.importers.keys_2d import (
    hifigan_config,
    hifigan_state,
    split_vae,
    t5_config,
    t5_state,
    unet2d_config,
    unet2d_name,
    unet2d_state,
    vae2d_config,
    vae2d_name,
    vae2d_state,
)
from soundleap.models.hifigan import HifiGan, HifiGanConfig
from soundleap.models.text_t5 import T5Config, make_t5_network
from soundleap.models.unet2d import FULL, LIGHT, LIGHT_STUDENT, XL, UNet2D, UNet2DConfig
from soundleap.models.vae2d import VAE2d, VAE2dConfig

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

MANIFESTS = Path(__file__).parents[2].parent / "shared" / "golden" / "manifests"


def published(manifest: str, prefix: str = "") -> dict[str, Tensor]:
    """Give the tensors of a published file, without their values."""
    path = MANIFESTS / f"{manifest}.json"
    if not path.exists():
        pytest.skip("no manifests beside the repository")
    tensors = json.loads(path.read_text())["tensors"]
    return {
        name.removeprefix(prefix): torch.empty(shape, device="meta")
        for name, (shape, _) in tensors.items()
        if name.startswith(prefix)
    }


def assert_fits(state: dict[str, Tensor], module: nn.Module) -> None:
    own = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in state.items()} == own


@pytest.mark.parametrize(
    ("manifest", "prefix", "config"),
    [
        ("consistencytta_easy_unet", "", LIGHT_STUDENT),
        ("consistencytta_guided_unet_full", "", replace(FULL, guided=True, prediction="x0")),
        ("consistencytta_teacher_unet_light", "", LIGHT),
        ("consistencytta_training_checkpoint_light", "student_ema_unet.", LIGHT_STUDENT),
        ("tango_main", "unet.", FULL),
        ("tango_unet_xl_config", "unet.", XL),
    ],
)
def test_every_unet(manifest: str, prefix: str, config: UNet2DConfig) -> None:
    tensors = published(manifest, prefix)
    assert unet2d_config(tensors) == config
    with torch.device("meta"):
        network = UNet2D(config)
    assert_fits(unet2d_state(tensors), network)


@pytest.mark.parametrize("encoder", [True, False])
def test_autoencoder_and_vocoder(encoder: bool) -> None:
    vae, vocoder = split_vae(published("audioldm_vae_hifigan"))
    assert (len(vae), len(vocoder)) == (204, 194)
    config = vae2d_config(vae, scale_factor=0.9227914214134216, encoder=encoder)
    assert config == VAE2dConfig(encoder=encoder)
    assert hifigan_config(vocoder) == HifiGanConfig()
    with torch.device("meta"):
        codec, maker = VAE2d(config), HifiGan(HifiGanConfig())
    assert_fits(vae2d_state(vae, encoder=encoder), codec)
    state = hifigan_state(vocoder)
    assert_fits(state, maker)
    assert torch.equal(state["net.mean"], torch.zeros(64))
    assert torch.equal(state["net.scale"], torch.ones(64))


@pytest.mark.parametrize("names", ["both", "first", "second"])
def test_text_encoder(names: str) -> None:
    tensors = published("flan_t5_large_encoder")
    left_out = {"first": "encoder.embed_tokens.weight", "second": "shared.weight", "both": ""}
    tensors.pop(left_out[names], None)
    tensors["decoder.block.0.layer.0.layer_norm.weight"] = torch.zeros(1)
    tensors["lm_head.weight"] = torch.zeros(1)
    assert t5_config(tensors) == T5Config()
    with torch.device("meta"):
        network = make_t5_network(T5Config())
    own = network.state_dict()
    del own["encoder.embed_tokens.weight"]
    state = t5_state(tensors)
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}


def test_names() -> None:
    assert unet2d_name("guidance_proj.weight") == "frequencies"
    assert unet2d_name("guidance_embedding.linear_1.bias") == "unet.class_embedding.linear_1.bias"
    assert vae2d_name("encoder.down.0.downsample.conv.bias") == (
        "vae.encoder.down_blocks.0.downsamplers.0.conv.bias"
    )
    assert vae2d_name("decoder.up.2.upsample.conv.bias") == (
        "vae.decoder.up_blocks.0.upsamplers.0.conv.bias"
    )
    assert vae2d_name("decoder.up.0.block.2.nin_shortcut.weight", 2) == (
        "vae.decoder.up_blocks.1.resnets.2.conv_shortcut.weight"
    )


def test_tensors_are_not_copied() -> None:
    weight = torch.zeros(4, 4, 1, 1)
    state = vae2d_state({"decoder.mid.attn_1.q.weight": weight, "decoder.up.0.x": weight})
    found = state["vae.decoder.mid_block.attentions.0.to_q.weight"]
    assert found.shape == (4, 4)
    assert found.data_ptr() == weight.data_ptr()


def test_other_networks_are_refused() -> None:
    other = {"layer.weight": torch.zeros(1)}
    with pytest.raises(BundleError, match="this is another network"):
        unet2d_config(other)
    with pytest.raises(BundleError, match="this is another network"):
        vae2d_config(other, scale_factor=1.0)
    with pytest.raises(BundleError, match="this is another network"):
        hifigan_config(other)
    with pytest.raises(BundleError, match=r"neither shared\.weight"):
        t5_state(other)
    unknown = {"down_blocks.0.resnets.0.conv1.weight": torch.zeros(48, 48, 3, 3)}
    with pytest.raises(BundleError, match=r"heads of a U-Net of widths \(48,\) are not known"):
        unet2d_config(unknown)
    with pytest.raises(BundleError, match="rates of a HiFi-GAN of kernels"):
        hifigan_config({"ups.0.weight": torch.zeros(4, 2, 9)})
