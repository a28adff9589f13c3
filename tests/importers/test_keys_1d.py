"""Published names and sizes of AudioLCM and Make-An-Audio 2 against our modules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from soundleap.errors import BundleError
from soundleap.importers import keys_1d
from soundleap.models.alias_free import half_band_filter
from soundleap.models.autoencoder1d import Autoencoder1d, Autoencoder1dConfig
from soundleap.models.bigvgan import BigVGAN, BigVGANConfig
from soundleap.models.concat_dit import ConcatDiT, ConcatDiTConfig

MANIFESTS = Path(__file__).parents[2].parent / "shared" / "golden" / "manifests"
DTYPES = {"float32": torch.float32, "int64": torch.int64}


def manifest(name: str) -> dict[str, Any]:
    path = MANIFESTS / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no manifest at {path}")
    return json.loads(path.read_text(encoding="utf-8"))


def published(name: str, prefix: str = "") -> dict[str, Tensor]:
    """Tensors without content, but filters, by their names after `prefix`."""
    found: dict[str, Tensor] = {}
    for key, (shape, dtype) in manifest(name)["tensors"].items():
        if key.startswith(prefix):
            tensor = torch.empty(shape, dtype=DTYPES[dtype], device="meta")
            is_filter = key.endswith(".filter")
            found[key.removeprefix(prefix)] = (
                half_band_filter().reshape(shape) if is_filter else tensor
            )
    return found


def on_meta(make: type[nn.Module], config: object) -> nn.Module:
    with torch.device("meta"):
        return make(config)


def shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "prefix", "guided", "parameters"),
    [
        ("audiolcm_dit", "", None, 159_687_252),
        ("audiolcm_checkpoint", "unet.diffusion_model.", None, 159_687_252),
        ("audiolcm_checkpoint", "target_unet.diffusion_model.", True, 159_687_252),
        ("audiolcm_checkpoint", "model.diffusion_model.", False, 159_621_716),
        ("maa2_checkpoint", "model.diffusion_model.", None, 159_621_716),
    ],
)
def test_transformers(name: str, prefix: str, guided: bool | None, parameters: int) -> None:
    stored = published(name, prefix)
    config = keys_1d.concat_dit_config(stored, guided=guided)
    assert config == ConcatDiTConfig(guided=parameters == 159_687_252)
    network = on_meta(ConcatDiT, config)
    assert shapes(keys_1d.concat_dit_state(stored, guided=guided)) == shapes(network.state_dict())
    assert count(network) == parameters


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("audiolcm_autoencoder1d", ""),
        ("audiolcm_checkpoint", "first_stage_model."),
        ("maa2_checkpoint", "first_stage_model."),
    ],
)
def test_autoencoder(name: str, prefix: str) -> None:
    stored = published(name, prefix)
    config = keys_1d.autoencoder1d_config(stored, scale_factor=0.3)
    assert config == Autoencoder1dConfig(scale_factor=0.3)
    codec = on_meta(Autoencoder1d, config)
    stored["loss.logvar"] = torch.zeros(())  # in the file of the autoencoder alone
    assert shapes(keys_1d.autoencoder1d_state(stored)) == shapes(codec.state_dict())
    assert count(codec) == 212_958_212


def test_vocoder() -> None:
    stored, args = published("bigvgan_16k"), manifest("bigvgan_16k")["config"]
    config = keys_1d.bigvgan_config(args)
    assert config == BigVGANConfig()
    vocoder = on_meta(BigVGAN, config)
    assert shapes(keys_1d.bigvgan_state(stored)) == shapes(vocoder.state_dict())
    norms = sum(v.numel() for k, v in stored.items() if k.endswith("weight_g"))
    assert count(vocoder) + norms == 112_231_250


def test_parameter_counts_without_manifests() -> None:
    assert count(on_meta(ConcatDiT, ConcatDiTConfig(guided=True))) == 159_687_252
    assert count(on_meta(ConcatDiT, ConcatDiTConfig())) == 159_621_716
    assert count(on_meta(Autoencoder1d, Autoencoder1dConfig())) == 212_958_212
    assert count(on_meta(BigVGAN, BigVGANConfig())) == 112_231_250 - 31_777  # no norms


@pytest.mark.parametrize("name", ["audiolcm_checkpoint", "maa2_checkpoint"])
def test_text_encoders(name: str) -> None:
    pytest.importorskip("transformers", reason="the networks are its classes")
    from soundleap.models.bert_t5_network import BertT5Config, BertT5Network

    parts = [
        published(name, f"cond_stage_model.{part}.")
        for part in ("caption_encoder.base", "caption_encoder.projection", "t5_transformer")
    ]
    config = keys_1d.bert_t5_config(*parts)
    assert config == BertT5Config()
    own = shapes(on_meta(BertT5Network, config).state_dict())
    del own["t5.encoder.embed_tokens.weight"]  # the second name of the word table
    assert shapes(keys_1d.bert_t5_state(*parts)) == own


def test_guidance_that_is_not_there() -> None:
    stored = published("maa2_checkpoint", "model.diffusion_model.")
    with pytest.raises(BundleError, match="no guidance input"):
        keys_1d.concat_dit_state(stored, guided=True)


def test_weight_norm_is_folded_in_every_spelling() -> None:
    from torch.nn.utils.parametrizations import weight_norm

    torch.manual_seed(0)
    layer = weight_norm(nn.Conv1d(3, 4, 5))
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(torch.rand(4, 1, 1) + 0.5)  # pyright: ignore
    new = {f"conv_pre.{k}": v for k, v in layer.state_dict().items()}
    old = {
        k.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): v
        for k, v in new.items()
    }
    folded = {"conv_pre.weight": layer.weight.detach(), "conv_pre.bias": new["conv_pre.bias"]}
    for spelling in (new, old, folded):
        state = keys_1d.bigvgan_state(spelling)
        assert state.keys() == folded.keys()
        for name, value in folded.items():
            torch.testing.assert_close(state[name], value)


def test_states_share_memory_with_what_was_read() -> None:
    stored = {"proj_in.weight": torch.zeros(4, 2, 5)}
    state = keys_1d.concat_dit_state(stored)
    assert state["proj_in.weight"].data_ptr() == stored["proj_in.weight"].data_ptr()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BundleError, match=r"proj_in.weight is missing"):
        keys_1d.concat_dit_config({})
    with pytest.raises(BundleError, match=r"needed: 3 dimensions"):
        keys_1d.concat_dit_config({"proj_in.weight": torch.zeros(3)})
    other = half_band_filter().reshape(1, 1, 12) * 1.01
    with pytest.raises(BundleError, match="not the filter that is built in"):
        keys_1d.bigvgan_state({"activation_post.upsample.filter": other})
    with pytest.raises(BundleError, match=r"no conv_pre.weight_g beside it"):
        keys_1d.bigvgan_state({"conv_pre.weight_v": torch.zeros(1, 1, 1)})
    with pytest.raises(BundleError, match=r"no conv_pre.weight_v beside it"):
        keys_1d.bigvgan_state({"conv_pre.weight_g": torch.zeros(1, 1, 1)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resblock": "2"}, "resblock is '2'; supported: '1'"),
        ({"activation": "snake"}, "activation is 'snake'"),
        ({"snake_logscale": False}, "snake_logscale is False"),
        ({"num_mels": 100}, "100 mel bins, not 80"),
        ({"upsample_rates": [4, 4]}, "their product must be the hop, 256"),
    ],
)
def test_other_vocoders_are_refused(change: dict[str, Any], message: str) -> None:
    args = {
        "resblock": "1", "num_mels": 80, "upsample_rates": [4, 4, 2, 2, 2, 2],
        "upsample_kernel_sizes": [8, 8, 4, 4, 4, 4], "upsample_initial_channel": 1536,
        "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
        "activation": "snakebeta", "snake_logscale": True, "seed": 1234,
    }  # fmt: skip
    assert keys_1d.bigvgan_config(args) == BigVGANConfig()
    with pytest.raises(BundleError, match=message):
        keys_1d.bigvgan_config(args | change)
    with pytest.raises(BundleError, match="lack num_mels"):
        keys_1d.bigvgan_config({k: v for k, v in args.items() if k != "num_mels"})


def test_two_word_tables_must_be_one() -> None:
    table = torch.ones(2, 3)
    both = {"shared.weight": table, "encoder.embed_tokens.weight": table.clone()}
    assert list(keys_1d.bert_t5_state({}, {}, both)) == ["t5.shared.weight"]
    second = {"encoder.embed_tokens.weight": table}
    assert list(keys_1d.bert_t5_state({}, {}, second)) == ["t5.shared.weight"]
    both["encoder.embed_tokens.weight"][0] = 2
    with pytest.raises(BundleError, match="they must be one"):
        keys_1d.bert_t5_state({}, {}, both)
