"""Published LAION-CLAP checkpoints: their tensor names as those of transformers, and their sizes.

Source: the names and shapes in LAION's files (`630k-audioset-best.pt`, `music_audioset_epoch_15`)
and in transformers' `ClapModel`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from soundleap.errors import BundleError

UNUSED = (
    "audio_branch.spectrogram_extractor.",
    "audio_branch.logmel_extractor.",
    "audio_branch.tscam_conv.",
    "audio_branch.head.",
    "audio_transform.",
    "text_transform.",
)
"""Parts that play no role in the embeddings: the front-end, the classifier, training heads."""

RENAMES = (
    (r"^(text|audio)_projection\.0\.", r"\1_projection.linear1."),
    (r"^(text|audio)_projection\.2\.", r"\1_projection.linear2."),
    (r"^text_branch\.", "text_model."),
    (r"^audio_branch\.bn0\.", "audio_model.audio_encoder.batch_norm."),
    (r"^audio_branch\.", "audio_model.audio_encoder."),
    (r"(\.blocks\.\d+)\.norm1\.", r"\1.layernorm_before."),
    (r"(\.blocks\.\d+)\.norm2\.", r"\1.layernorm_after."),
    (r"(\.blocks\.\d+)\.attn\.proj\.", r"\1.attention.output.dense."),
    (r"(\.blocks\.\d+)\.attn\.", r"\1.attention.self."),
    (r"(\.blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(\.blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)


def clap_state(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of a LAION file; joint query-key-value tensors are cut in three."""
    state: dict[str, Tensor] = {}
    for name, value in published.items():
        name = name.removeprefix("module.")
        if name.startswith(UNUSED) or name.endswith(".attn_mask"):
            continue
        for pattern, replacement in RENAMES:
            name = re.sub(pattern, replacement, name)
        if ".self.qkv." in name:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                state[name.replace(".qkv.", f".{part}.")] = piece
        else:
            state[name] = value
    return state


def clap_config(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Derive the arguments of `ClapConfig` from renamed tensors.

    Heads of the text tower have 64 dimensions each, as in RoBERTa; all else stands in the shapes.

    Raises:
        BundleError: a tensor that tells a size is missing.
    """
    audio, text = "audio_model.audio_encoder.", "text_model."
    try:
        words = state[text + "embeddings.word_embeddings.weight"]
        patches = state[audio + "patch_embed.proj.weight"]
        depths, heads = _blocks(state, audio)
        window = round(state[f"{audio}layers.0.blocks.0{TABLE}"].shape[0] ** 0.5 + 1) // 2
        inner = state[text + "encoder.layer.0.intermediate.dense.weight"].shape[0]
        positions = state[text + "embeddings.position_embeddings.weight"].shape[0]
        projection = state["audio_projection.linear2.weight"].shape[0]
        mels = state[audio + "batch_norm.weight"].shape[0]
    except KeyError as error:
        raise BundleError(f"not a LAION-CLAP checkpoint: {error} is missing") from None
    width = patches.shape[0]
    return {
        "projection_dim": projection,
        "audio_config": {
            "patch_embeds_hidden_size": width,
            "hidden_size": width * 2 ** (len(depths) - 1),
            "depths": depths,
            "num_attention_heads": heads,
            "num_hidden_layers": len(depths),
            "window_size": window,
            "num_mel_bins": mels,
            "projection_dim": projection,
            "enable_fusion": audio + "patch_embed.mel_conv2d.weight" in state,
            "fusion_type": "aff_2d",
        },
        "text_config": {
            "vocab_size": words.shape[0],
            "hidden_size": words.shape[1],
            "num_hidden_layers": _count(state, text + "encoder.layer."),
            "num_attention_heads": max(1, words.shape[1] // 64),
            "intermediate_size": inner,
            "max_position_embeddings": positions,
            "projection_dim": projection,
            "layer_norm_eps": 1e-5,  # RoBERTa's; transformers' default for CLAP is another
        },
    }


TABLE = ".attention.self.relative_position_bias_table"


def _blocks(state: Mapping[str, Tensor], audio: str) -> tuple[list[int], list[int]]:
    layers = range(_count(state, audio + "layers."))
    depths = [_count(state, f"{audio}layers.{i}.blocks.") for i in layers]
    heads = [state[f"{audio}layers.{i}.blocks.0{TABLE}"].shape[1] for i in layers]
    return depths, heads


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    numbers = {name[len(prefix) :].split(".")[0] for name in state if name.startswith(prefix)}
    return len(numbers)
