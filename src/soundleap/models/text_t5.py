"""Prompts to text states for ConsistencyTTA and TANGO: the encoder half of FLAN-T5.

Source: Raffel et al., T5 (2020) and its version 1.1; Chung et al., FLAN-T5 (2022). The network is
transformers' ``T5EncoderModel``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.models.fast_cpu import fast_cpu
from soundleap.models.stock import stock_class
from soundleap.models.text import PROMPTS_AT_ONCE, TextStates

CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"
_TABLE = "shared.weight"
_SECOND_NAME = "encoder.embed_tokens.weight"


@dataclass(frozen=True)
class T5Config:
    """Sizes of a `T5TextEncoder`; the defaults are FLAN-T5-large's.

    Attributes:
        kind: tells the folder of this encoder from those of others.
        vocab_size: rows of the word table; at least the words of the tokenizer.
        dim: width D of the states.
        num_layers: transformer blocks.
        num_heads: attention heads.
        head_dim: width of a head.
        hidden_dim: width of the gated feed-forward part.
        num_buckets: of the relative positions.
        max_length: longest prompt in tokens, the end token included.
    """

    kind: Literal["t5"] = "t5"
    vocab_size: int = 32128
    dim: int = 1024
    num_layers: int = 24
    num_heads: int = 16
    head_dim: int = 64
    hidden_dim: int = 2816
    num_buckets: int = 32
    max_length: int = 512

    def __post_init__(self) -> None:
        """Check the sizes.

        Raises:
            InputError: naming the first that is not allowed.
        """
        if self.kind != "t5":
            raise InputError(f"kind is {self.kind!r}; allowed: 't5'")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name != "kind" and (type(value) is not int or value < 1):
                raise InputError(f"{field.name} is {value!r}; allowed: whole numbers from 1")
        if self.max_length < 2:
            raise InputError(f"max_length is {self.max_length}; allowed: from 2")


class T5TextEncoder:
    """Tokenizer and network together: prompts in, `TextStates` out.

    Frozen: it is never trained here, so states carry no gradient history. Every prompt ends with an
    end token, which is all there is of the empty (unconditional) prompt.

    Attributes:
        structured: False; it reads plain prompts only.
        FILES: names of the files of its folder.
    """

    structured = False
    FILES = (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)

    def __init__(self, config: T5Config, network: Any, tokenizer: Tokenizer) -> None:
        """Join parts that belong together; `from_folder` loads ready ones."""
        self.config = config
        self.network = network.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def from_folder(cls, folder: str | Path, dtype: torch.dtype | None = None) -> T5TextEncoder:
        """Load an encoder's folder.

        Weights that are stored in the wanted type stay mapped from the file: they take memory only
        as far as they are used.

        Args:
            folder: with `FILES`.
            dtype: of the weights; None for float32, however they are stored.

        Raises:
            BundleError: a file is missing or damaged, or its tensors are not the expected ones.
        """
        folder = Path(folder)
        config = _load_config(folder / CONFIG_FILE)
        tokenizer = _load_tokenizer(folder / TOKENIZER_FILE, config.vocab_size)
        wanted = dtype or torch.float32
        return cls(config, _load_network(folder / WEIGHTS_FILE, config, wanted), tokenizer)

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.config.dim

    @property
    def max_tokens(self) -> int:
        """Longest prompt in tokens, the end token not counted."""
        return self.config.max_length - 1

    def to(self, device: torch.device | str) -> T5TextEncoder:
        """Move the network, and so the states that `encode` gives, to a device; returns itself."""
        self.network.to(device)
        return self

    def count_tokens(self, prompt: str) -> int:
        """Count the tokens of a prompt, the end token not counted; 0 for the empty prompt."""
        return len(self.tokens(prompt))

    def tokens(self, prompt: str) -> list[str]:
        """Cut a prompt into pieces ("▁" begins a word), without the end token."""
        return self._tokenizer.encode(prompt, add_special_tokens=False).tokens

    @torch.no_grad()
    def encode(
        self, prompts: Sequence[str], struct_prompts: Sequence[str] | None = None
    ) -> TextStates:
        """Encode prompts; the empty string is allowed and is the unconditional prompt.

        Args:
            prompts: B texts of at most `max_tokens` tokens each.
            struct_prompts: must be None; other encoders read them.

        Returns:
            `TextStates` on the network's device, in float32, zero at padding; a prompt's states do
            not depend on its neighbours beyond rounding.

        Raises:
            InputError: no prompts, something else than a list of texts, a prompt too long, or
                structured prompts.
        """
        if struct_prompts is not None:
            raise InputError("this model reads no structured prompts; leave struct_prompts out")
        ids = self._tokenize(prompts)
        device = self.network.shared.weight.device
        lengths = torch.tensor([len(row) for row in ids], device=device)
        longest = int(lengths.max())
        mask = torch.arange(longest, device=device) < lengths[:, None]
        embeds = torch.zeros(len(ids), longest, self.dim, device=device)
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(ids), PROMPTS_AT_ONCE):
            rows = by_length[start : start + PROMPTS_AT_ONCE]
            width = len(ids[rows[-1]])
            padded = [ids[i] + [0] * (width - len(ids[i])) for i in rows]
            part = mask[rows, :width]
            with fast_cpu(embeds):
                found = self.network(torch.tensor(padded, device=device), attention_mask=part)
            states = found.last_hidden_state.float()
            embeds[rows, :width] = states.masked_fill(~part[:, :, None], 0.0)
        return TextStates(embeds=embeds, mask=mask)

    def _tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        if isinstance(prompts, str) or not prompts:
            raise InputError(f"prompts is {prompts!r}; give a list with at least one text")
        return [self._token_ids(i, prompt) for i, prompt in enumerate(prompts)]

    def _token_ids(self, index: int, prompt: str) -> list[int]:
        if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"prompts[{index}] is {prompt!r}; give a text")
        ids = self._tokenizer.encode(prompt).ids
        count = len(ids) - 1
        if count > self.max_tokens:
            raise InputError(
                f"prompts[{index}] has {count} tokens; allowed: at most {self.max_tokens}; "
                f"shorten it: {prompt[:60]!r}..."
            )
        return ids


def make_t5_network(config: T5Config) -> Any:
    """Build transformers' encoder, with one word table under both of its names."""
    module = "transformers.models.t5"
    make_config = stock_class(f"{module}.configuration_t5", "T5Config")
    make = stock_class(f"{module}.modeling_t5", "T5EncoderModel")
    network = make(
        make_config(
            vocab_size=config.vocab_size,
            d_model=config.dim,
            d_kv=config.head_dim,
            d_ff=config.hidden_dim,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            relative_attention_num_buckets=config.num_buckets,
            relative_attention_max_distance=128,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )
    network.set_input_embeddings(network.shared)
    return network


def save_t5_folder(
    folder: Path, config: T5Config, state: Mapping[str, Tensor], tokenizer_json: str
) -> None:
    """Write an encoder's folder.

    Args:
        folder: where; made if it is not there.
        config: sizes.
        state: tensors by their names in ``T5EncoderModel``, the word table once.
        tokenizer_json: text of a ``tokenizer.json``.

    Raises:
        BundleError: if the tokenizer is not fit for the sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
    _load_tokenizer(folder / TOKENIZER_FILE, config.vocab_size)
    text = json.dumps(asdict(config), indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    save_file({name: v.contiguous() for name, v in state.items()}, folder / WEIGHTS_FILE)


def _load_config(path: Path) -> T5Config:
    try:
        return T5Config(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"can't read the text encoder's config {path}: {error}") from error


def _load_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"can't read the tokenizer {path}: {error}") from error
    if tokenizer.get_vocab_size() > vocab_size:
        raise BundleError(f"{path} has more than the {vocab_size} pieces of config.json")
    end = tokenizer.token_to_id("</s>")
    if end is None or tokenizer.encode("").ids != [end]:
        raise BundleError(f"{path} does not end a prompt with the one token </s>")
    return tokenizer


def _load_network(path: Path, config: T5Config, dtype: torch.dtype) -> Any:
    with torch.device("meta"):  # no time spent on initial values that are replaced at once
        network = make_t5_network(config)
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"can't read the text encoder's weights {path}: {error}") from error
    own = network.state_dict()
    own.pop(_SECOND_NAME)
    check_state(path, stored, own)
    state = {name: value.to(dtype) for name, value in stored.items()}
    network.load_state_dict({**state, _SECOND_NAME: state[_TABLE]}, assign=True)
    network.set_input_embeddings(network.shared)
    return network


def check_state(path: Path, stored: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Hold a file's tensors against a network's.

    Raises:
        BundleError: listing missing, unexpected and mis-shaped tensors.
    """
    missing, unexpected = sorted(own.keys() - stored), sorted(stored.keys() - own.keys())
    shapes = [
        f"{name} is {tuple(stored[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in stored and stored[name].shape != own[name].shape
    ]
    if missing or unexpected or shapes:
        raise BundleError(
            f"{path} does not fit: missing {missing}, unexpected {unexpected}, mis-shaped {shapes}"
        )
