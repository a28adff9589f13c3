"""The networks of `BertT5TextEncoder`, built of transformers' classes.

Source: Devlin et al., BERT (2019); Raffel et al., T5 (2020) and its version 1.1; Elizalde et al.,
CLAP (2023) (the projection).
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor, nn

from soundleap.errors import BundleError, InputError
from soundleap.models.stock import stock_class
from soundleap.models.text_t5 import T5Config, check_state, make_t5_network

_SECOND_TABLE = "t5.encoder.embed_tokens.weight"


@dataclass(frozen=True)
class BertConfig:
    """Sizes of BERT; the defaults are those of the base model.

    Attributes:
        vocab_size: rows of the word table; at least the words of the tokenizer.
        dim: width of the states.
        num_layers: transformer blocks.
        num_heads: attention heads; divides `dim`.
        hidden_dim: width of the feed-forward part.
        max_positions: longest text in tokens.
    """

    vocab_size: int = 30522
    dim: int = 768
    num_layers: int = 12
    num_heads: int = 12
    hidden_dim: int = 3072
    max_positions: int = 512


@dataclass(frozen=True)
class BertT5Config:
    """Sizes of a `BertT5TextEncoder`; the defaults are the published ones.

    Attributes:
        kind: tells the folder of this encoder from those of others.
        bert: sizes of the encoder of prompts.
        t5: sizes of the encoder of structured captions.
        projection_dim: width D of the states, the same as T5's.
        max_tokens: tokens of each encoder, padding and special tokens included.
    """

    kind: Literal["bert_t5"] = "bert_t5"
    bert: BertConfig = field(default_factory=BertConfig)
    t5: T5Config = field(default_factory=T5Config)
    projection_dim: int = 1024
    max_tokens: int = 77

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: naming the first that is not allowed.
        """
        for sizes in (self.bert, self):
            for each in fields(sizes):
                value = getattr(sizes, each.name)
                if isinstance(value, int) and value < 1:
                    raise InputError(f"{each.name} is {value}; it must be above 0")
        if self.bert.dim % self.bert.num_heads:
            raise InputError(f"num_heads is {self.bert.num_heads}; allowed: divisors of dim")
        if self.projection_dim != self.t5.dim:
            raise InputError(f"projection_dim is {self.projection_dim}; T5's dim is {self.t5.dim}")
        if not 3 <= self.max_tokens <= self.bert.max_positions:
            raise InputError(
                f"max_tokens is {self.max_tokens}; allowed: 3 to {self.bert.max_positions}"
            )


class Projection(nn.Module):
    """BERT's states to the common width."""

    def __init__(self, inward: int, outward: int):
        super().__init__()
        self.linear1 = nn.Linear(inward, outward, bias=False)
        self.linear2 = nn.Linear(outward, outward, bias=False)
        self.layer_norm = nn.LayerNorm(outward)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, N, W]`` to ``[B, N, D]``."""
        first = self.linear1(x)
        return self.layer_norm(first + self.linear2(nn.functional.gelu(first)))


class BertT5Network(nn.Module):
    """Token ids of both encoders to states."""

    def __init__(self, config: BertT5Config):
        super().__init__()
        self.bert = _make_bert(config.bert)
        self.projection = Projection(config.bert.dim, config.projection_dim)
        self.t5 = make_t5_network(config.t5)

    def forward(self, bert_ids: Tensor, t5_ids: Tensor) -> Tensor:
        """Map two times ``[B, N]`` to ``[B, 2N, D]``; padding is attended to like any token."""
        prompt = self.bert(input_ids=bert_ids).last_hidden_state
        structure = self.t5(input_ids=t5_ids).last_hidden_state
        return torch.cat([self.projection(prompt), structure], dim=1)


def load_bert_t5_network(path: Path, config: BertT5Config, dtype: torch.dtype) -> BertT5Network:
    """Load the networks from a safetensors file.

    Args:
        path: with T5's word table once.
        config: sizes.
        dtype: of the weights; those stored in it stay mapped from the file.

    Raises:
        BundleError: if it can't be read, or its tensors are not the expected ones.
    """
    with torch.device("meta"):  # no time spent on initial values that are replaced at once
        network = BertT5Network(config)
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"can't read the text encoder's weights {path}: {error}") from error
    own = network.state_dict()
    own.pop(_SECOND_TABLE)
    check_state(path, stored, own)
    state = {name: value.to(dtype) for name, value in stored.items()}
    state[_SECOND_TABLE] = state["t5.shared.weight"]
    network.load_state_dict(state, assign=True)
    network.t5.set_input_embeddings(network.t5.shared)
    places = torch.arange(config.bert.max_positions)[None]
    for name, value in (("position_ids", places), ("token_type_ids", torch.zeros_like(places))):
        network.bert.embeddings.register_buffer(name, value, persistent=False)
    return network


def _make_bert(config: BertConfig) -> Any:
    module = "transformers.models.bert"
    make_config = stock_class(f"{module}.configuration_bert", "BertConfig")
    make = stock_class(f"{module}.modeling_bert", "BertModel")
    sizes = make_config(
        vocab_size=config.vocab_size,
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.hidden_dim,
        max_position_embeddings=config.max_positions,
    )
    return make(sizes, add_pooling_layer=False)
