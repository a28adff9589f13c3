"""Names and sizes of the published AudioLCM and Make-An-Audio 2 weights, mapped to ours.

Every function takes a mapping from published names, without the checkpoint's prefix, to tensors.
Tensors may be memory-mapped: states are renamed, not copied, but where weight norm is folded.

Source: state dicts of AudioLCM (revision 51db10c) and Make-An-Audio 2 (f02ec0a).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from soundleap.audio.mel import MelConfig
from soundleap.errors import BundleError, InputError
from soundleap.importers.weight_norm import fold_weight_norm
from soundleap.models.alias_free import half_band_filter
from soundleap.models.autoencoder1d import Autoencoder1dConfig
from soundleap.models.bert_t5_network import BertConfig, BertT5Config
from soundleap.models.bigvgan import BigVGANConfig
from soundleap.models.concat_dit import ConcatDiTConfig
from soundleap.models.text_t5 import T5Config

PROJ_W = "t_embedder.proj_w.weight"
UNUSED_BERT = ("bert.pooler.", "bert.embeddings.position_ids")
EMBED_TOKENS = "encoder.embed_tokens.weight"
BIGVGAN_ARGS = {
    "resblock": "1",
    "activation": "snakebeta",
    "snake_logscale": True,
}
"""Settings of a vocoder's ``args.yml`` that only have the published value here."""


def concat_dit_config(
    published: Mapping[str, Tensor], *, heads: int = 8, guided: bool | None = None
) -> ConcatDiTConfig:
    """Read the sizes of a transformer off its weights.

    Args:
        published: names without prefix; see `concat_dit_state`.
        heads: attention heads, which no shape tells.
        guided: whether to use the guidance input; None: where the weights have one.

    Raises:
        BundleError: if the weights are not those of such a transformer.
    """
    width, channels, _ = _shape(published, "proj_in.weight", 3)
    return _checked(
        "the transformer",
        ConcatDiTConfig,
        channels=channels,
        text_dim=_shape(published, "c1_embedder.mlp.0.weight", 2)[1],
        width=width,
        blocks=_count(published, r"blocks\.(\d+)\."),
        heads=heads,
        max_positions=_shape(published, "pos_emb.weight", 2)[0],
        guided=PROJ_W in published if guided is None else guided,
    )


def concat_dit_state(
    published: Mapping[str, Tensor], *, guided: bool | None = None
) -> dict[str, Tensor]:
    """Return the state of a `ConcatDiT`: the published names are ours.

    Args:
        published: ``t_embedder.…``, ``blocks.…`` and so on.
        guided: False drops the guidance input, as for the teacher in ``audiolcm.ckpt``, which has
            one that was never trained; None keeps it where it is.

    Raises:
        BundleError: if it should be guided and has no guidance input.
    """
    if guided and PROJ_W not in published:
        raise BundleError(f"the transformer has no guidance input: {PROJ_W} is missing")
    return {name: x for name, x in published.items() if guided is not False or name != PROJ_W}


def autoencoder1d_config(
    published: Mapping[str, Tensor], *, scale_factor: float
) -> Autoencoder1dConfig:
    """Read the sizes of an autoencoder off its weights.

    Args:
        published: names without prefix; ``loss.…`` may be among them.
        scale_factor: factor on the latents, the checkpoint's ``scale_factor``.

    Raises:
        BundleError: if the weights are not those of such an autoencoder.
    """
    width, n_mels, kernel_size = _shape(published, "encoder.conv_in.weight", 3)
    levels = _count(published, r"encoder\.down\.(\d+)\.block\.")
    norms = [f"encoder.down.{i}.block.0.norm2.weight" for i in range(levels)]
    downs = [f"encoder.down.{i}.downsample.conv.weight" for i in range(levels)]
    return _checked(
        "the autoencoder",
        Autoencoder1dConfig,
        n_mels=n_mels,
        channels=_shape(published, "post_quant_conv.weight", 3)[1],
        inner_channels=_shape(published, "decoder.conv_in.weight", 3)[1],
        width=width,
        multipliers=tuple(_shape(published, name, 1)[0] // width for name in norms),
        blocks=_count(published, r"encoder\.down\.0\.block\.(\d+)\."),
        kernel_size=kernel_size,
        down_levels=tuple(i for i, name in enumerate(downs) if name in published),
        encoder_attention=attention_levels(published, "encoder.down"),
        decoder_attention=attention_levels(published, "decoder.up"),
        scale_factor=scale_factor,
    )


def attention_levels(published: Mapping[str, Tensor], side: str) -> tuple[int, ...]:
    """Read off an autoencoder's weights which levels attend; `side` is where their names begin."""
    pattern = re.compile(rf"{re.escape(side)}\.(\d+)\.attn\.")
    return tuple(sorted({int(found[1]) for name in published if (found := pattern.match(name))}))


def autoencoder1d_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of an `Autoencoder1d`: the published names are ours.

    The discriminator of a checkpoint of the autoencoder alone, ``loss.…``, is left out.
    """
    return {name: x for name, x in published.items() if not name.startswith("loss.")}


def bigvgan_config(args: Mapping[str, Any], *, mel: MelConfig | None = None) -> BigVGANConfig:
    """Read the sizes of a vocoder from its ``args.yml``.

    Args:
        args: the file's content; what only training needs is ignored.
        mel: the front-end it was trained on, which the file does not tell; the published one if
            None.

    Raises:
        BundleError: if a setting is missing or means another network.
    """
    for name, value in BIGVGAN_ARGS.items():
        if str(args.get(name)) != str(value):
            raise BundleError(f"the vocoder's {name} is {args.get(name)!r}; supported: {value!r}")
    needed = {
        "upsample_rates": "upsample_rates",
        "upsample_kernel_sizes": "upsample_kernels",
        "upsample_initial_channel": "width",
        "resblock_kernel_sizes": "block_kernels",
        "resblock_dilation_sizes": "block_dilations",
    }
    missing = sorted({"num_mels", *needed} - args.keys())
    if missing:
        raise BundleError(f"the vocoder's settings lack {', '.join(missing)}")
    values = {ours: _tuples(args[theirs]) for theirs, ours in needed.items()}
    config = _checked("the vocoder", BigVGANConfig, **values, **({"mel": mel} if mel else {}))
    if args["num_mels"] != config.mel.n_mels:
        raise BundleError(f"the vocoder has {args['num_mels']} mel bins, not {config.mel.n_mels}")
    return config


def bigvgan_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state of a `BigVGAN`: weight norm folded, filters checked and dropped.

    Args:
        published: the content of the checkpoint's ``generator``, with weight norm of either
            spelling or without.

    Raises:
        BundleError: if a filter is not the one that is built in, or half of a pair is missing.
    """
    state: dict[str, Tensor] = {}
    for name, value in fold_weight_norm(published).items():
        if name.endswith(".filter"):
            _check_filter(name, value)
        else:
            own = re.sub(r"^ups\.(\d+)\.0\.", r"ups.\1.", name)
            state[re.sub(r"\.act\.(alpha|beta)$", r".\1", own)] = value
    return state


def bert_t5_config(
    bert: Mapping[str, Tensor],
    projection: Mapping[str, Tensor],
    t5: Mapping[str, Tensor],
    *,
    bert_heads: int = 12,
    max_tokens: int = 77,
) -> BertT5Config:
    """Read the sizes of the text encoders off their weights.

    Args:
        bert: see `bert_t5_state`.
        projection: likewise.
        t5: likewise.
        bert_heads: attention heads of BERT, which no shape tells.
        max_tokens: tokens of each encoder, which no shape tells.

    Raises:
        BundleError: if the weights are not those of such encoders.
    """
    words, dim = _shape(bert, "embeddings.word_embeddings.weight", 2)
    bert_config = BertConfig(
        vocab_size=words,
        dim=dim,
        num_layers=_count(bert, r"encoder\.layer\.(\d+)\."),
        num_heads=bert_heads,
        hidden_dim=_shape(bert, "encoder.layer.0.intermediate.dense.weight", 2)[0],
        max_positions=_shape(bert, "embeddings.position_embeddings.weight", 2)[0],
    )
    layer = "encoder.block.0.layer"
    buckets, heads = _shape(t5, f"{layer}.0.SelfAttention.relative_attention_bias.weight", 2)
    table = "shared.weight" if "shared.weight" in t5 else EMBED_TOKENS
    t5_config = T5Config(
        vocab_size=_shape(t5, table, 2)[0],
        dim=_shape(t5, table, 2)[1],
        num_layers=_count(t5, r"encoder\.block\.(\d+)\."),
        num_heads=heads,
        head_dim=_shape(t5, f"{layer}.0.SelfAttention.q.weight", 2)[0] // heads,
        hidden_dim=_shape(t5, f"{layer}.1.DenseReluDense.wi_0.weight", 2)[0],
        num_buckets=buckets,
    )
    return _checked(
        "the text encoder",
        BertT5Config,
        bert=bert_config,
        t5=t5_config,
        projection_dim=_shape(projection, "linear1.weight", 2)[0],
        max_tokens=max_tokens,
    )


def bert_t5_state(
    bert: Mapping[str, Tensor], projection: Mapping[str, Tensor], t5: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the state of a `BertT5TextEncoder`.

    Left out are BERT's pooler and table of positions, which nothing reads, and the second name of
    T5's embeddings.

    Args:
        bert: what follows ``cond_stage_model.caption_encoder.base.`` in the checkpoint.
        projection: what follows ``cond_stage_model.caption_encoder.projection.``.
        t5: what follows ``cond_stage_model.t5_transformer.``.

    Raises:
        BundleError: if the two copies of T5's embeddings differ.
    """
    state = {f"bert.{name}": value for name, value in bert.items()}
    state = {name: x for name, x in state.items() if not name.startswith(UNUSED_BERT)}
    state |= {f"projection.{name}": value for name, value in projection.items()}
    state |= {f"t5.{name}": value for name, value in t5.items() if name != EMBED_TOKENS}
    if EMBED_TOKENS in t5:
        shared = state.setdefault("t5.shared.weight", t5[EMBED_TOKENS])
        if not _same(shared, t5[EMBED_TOKENS]):
            raise BundleError(f"T5's shared.weight and {EMBED_TOKENS} differ; they must be one")
    return state


def _check_filter(name: str, value: Tensor) -> None:
    expected = half_band_filter()
    if value.numel() != len(expected) or not torch.allclose(
        value.flatten().float(), expected, rtol=0, atol=1e-6
    ):
        raise BundleError(f"{name} is not the filter that is built in; the vocoder differs")


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.data_ptr() == b.data_ptr() and a.shape == b.shape) or torch.equal(a, b)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(x) for x in value) if isinstance(value, Sequence) else value


def _shape(published: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    if name not in published:
        raise BundleError(f"tensor {name} is missing")
    if published[name].ndim != dims:
        raise BundleError(f"{name} is {tuple(published[name].shape)}; needed: {dims} dimensions")
    return tuple(published[name].shape)


def _count(published: Mapping[str, Tensor], pattern: str) -> int:
    found = {int(match[1]) for match in map(re.compile(pattern).match, published) if match}
    return max(found, default=-1) + 1


def _checked(what: str, make: Any, **values: Any) -> Any:
    try:
        return make(**values)
    except InputError as error:
        raise BundleError(f"{what} has sizes that are not supported: {error}") from None
