"""Prompts to text states: a six-layer BERT that ships with the package.

The weights are a slimmed copy of all-MiniLM-L6-v2: fewer word pieces, 128 positions, matrices in
int8 with one scale per row. ``recipes/slim_text_encoder.py`` makes them and holds what that costs.

Source: Devlin et al. 2019, "BERT" (the network); Wang et al. 2020, "MiniLM" and Reimers & Gurevych
2019, "Sentence-BERT" (the weights and the pooling).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from safetensors.torch import load_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer
from torch import Tensor, nn

from soundleap.errors import BundleError, InputError

DEFAULT_FOLDER = Path(__file__).parent.parent / "assets" / "text"
SPECIAL_TOKENS = 2  # [CLS] before and [SEP] after every prompt
PROMPTS_AT_ONCE = 128  # bounds the memory of a long list; never changes a result


@dataclass(frozen=True)
class TextEncoderConfig:
    """Sizes of a `BertEncoder`.

    Attributes:
        vocab_size: word pieces the tokenizer knows.
        max_positions: longest prompt in tokens, [CLS] and [SEP] included.
        dim: width D of the states.
        num_layers: transformer blocks.
        num_heads: attention heads; divides `dim`.
        hidden_dim: width of the feed-forward part.
    """

    vocab_size: int
    max_positions: int = 128
    dim: int = 384
    num_layers: int = 6
    num_heads: int = 12
    hidden_dim: int = 1536

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value < 1:
                raise InputError(f"{field.name} is {value!r}; allowed: whole numbers from 1")
        if self.dim % self.num_heads:
            raise InputError(f"num_heads is {self.num_heads}; allowed: divisors of dim {self.dim}")
        if self.max_positions <= SPECIAL_TOKENS:
            raise InputError(f"max_positions is {self.max_positions}; allowed: from 3")


@dataclass(frozen=True)
class TextStates:
    """Encoded prompts.

    Attributes:
        embeds: [B, N, D] float32, one state per token, N = the longest prompt; padding is zero.
        mask: [B, N] bool, True at tokens ([CLS] and [SEP] count), False at padding.
    """

    embeds: Tensor
    mask: Tensor


class BertLayer(nn.Module):
    """One post-norm transformer block.

    Source: Devlin et al. 2019, section 3 (exact GELU; LayerNorm epsilon 1e-12 as released).
    """

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        dim = config.dim
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.attention_norm = nn.LayerNorm(dim, eps=1e-12)
        self.up = nn.Linear(dim, config.hidden_dim)
        self.down = nn.Linear(config.hidden_dim, dim)
        self.output_norm = nn.LayerNorm(dim, eps=1e-12)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Map states [B, N, D] to new ones; `mask` [B, N] bool is True at tokens."""
        heads = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = self.attention_norm(x + self.out(attended.transpose(1, 2).flatten(2)))
        return self.output_norm(x + self.down(F.gelu(self.up(x))))


def _table(rows: int, dim: int) -> nn.Embedding:
    # Zeros, because normal_ on the meta device imports torch._dynamo: 1.5 s at every start.
    return nn.Embedding(rows, dim, _weight=torch.zeros(rows, dim))


class BertEncoder(nn.Module):
    """Token ids to states; `positions` include the embedding of the only segment."""

    def __init__(self, config: TextEncoderConfig) -> None:
        super().__init__()
        self.words = _table(config.vocab_size, config.dim)
        self.positions = _table(config.max_positions, config.dim)
        self.norm = nn.LayerNorm(config.dim, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.num_layers))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode ids [B, N] int64 with mask [B, N] bool (True at tokens) into states [B, N, D].

        States at padding are meaningless; every row needs at least one token.
        """
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]])
        for layer in self.layers:
            x = layer(x, mask)
        return x


class TextEncoder:
    """Tokenizer and network together: prompts in, `TextStates` out.

    Frozen: it is never trained here, so states carry no gradient history. A word with characters
    that the vocabulary lacks becomes one [UNK] token; "[SEP]" in a prompt is just letters.
    """

    structured = False
    FILES = ("config.json", "model.safetensors", "tokenizer.json")

    def __init__(
        self, config: TextEncoderConfig, network: BertEncoder, tokenizer: Tokenizer
    ) -> None:
        """Join parts that belong together; `from_folder` and `default` load ready ones."""
        self.config = config
        self.network = network.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True

    @classmethod
    def from_folder(cls, folder: str | Path) -> TextEncoder:
        """Load ``config.json``, ``tokenizer.json`` and ``model.safetensors`` from a folder.

        Raises:
            BundleError: a file is missing or damaged, or its tensors are not the expected ones.
        """
        folder = Path(folder)
        config = _load_config(folder / "config.json")
        tokenizer = _load_tokenizer(folder / "tokenizer.json", config.vocab_size)
        return cls(config, _load_network(folder / "model.safetensors", config), tokenizer)

    @classmethod
    def default(cls) -> TextEncoder:
        """Load the encoder that ships with Soundleap (384 wide, 126 tokens)."""
        return cls.from_folder(DEFAULT_FOLDER)

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.config.dim

    @property
    def max_tokens(self) -> int:
        """Longest prompt in tokens, [CLS] and [SEP] not counted."""
        return self.config.max_positions - SPECIAL_TOKENS

    def to(self, device: torch.device | str) -> TextEncoder:
        """Move the network, and so the states that `encode` gives, to a device; returns itself."""
        self.network.to(device)
        return self

    def count_tokens(self, prompt: str) -> int:
        """Count the tokens of a prompt, [CLS] and [SEP] not counted; 0 for the empty prompt."""
        return len(self.tokens(prompt))

    def tokens(self, prompt: str) -> list[str]:
        """Cut a prompt into word pieces ("##" continues a word), without [CLS] and [SEP]."""
        return self._tokenizer.encode(prompt, add_special_tokens=False).tokens

    @torch.no_grad()
    def encode(
        self, prompts: Sequence[str], struct_prompts: Sequence[str] | None = None
    ) -> TextStates:
        """Encode prompts; the empty string is allowed and is the unconditional prompt.

        Args:
            prompts: B texts of at most `max_tokens` tokens each.
            struct_prompts: for encoders that read structured captions; None here.

        Returns:
            `TextStates` on the network's device; a prompt's states do not depend on its neighbours
            beyond float32 rounding.

        Raises:
            InputError: no prompts, something else than a list of texts, a prompt too long, or
                structured captions.
        """
        if struct_prompts is not None:
            raise InputError("this model's text encoder reads no struct_prompt; leave it out")
        ids = self._tokenize(prompts)
        device = self.network.words.weight.device
        lengths = torch.tensor([len(row) for row in ids], device=device)
        longest = int(lengths.max())
        mask = torch.arange(longest, device=device) < lengths[:, None]
        embeds = torch.zeros(len(ids), longest, self.dim, device=device)
        by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(ids), PROMPTS_AT_ONCE):
            rows = by_length[start : start + PROMPTS_AT_ONCE]
            width = len(ids[rows[-1]])
            padded = torch.tensor(
                [ids[i] + [0] * (width - len(ids[i])) for i in rows], device=device
            )
            states = self.network(padded, mask[rows, :width])
            embeds[rows, :width] = states.masked_fill(~mask[rows, :width, None], 0.0)
        return TextStates(embeds=embeds, mask=mask)

    def pooled(self, states: TextStates) -> Tensor:
        """Average the states of each prompt's tokens and scale to length 1: [B, D] float32.

        Source: Reimers & Gurevych 2019, "Sentence-BERT", mean pooling.
        """
        mean = states.embeds.sum(1) / states.mask.sum(1, keepdim=True)
        return F.normalize(mean, dim=-1)

    def _tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        if isinstance(prompts, str) or not prompts:
            raise InputError(f"prompts is {prompts!r}; give a list with at least one text")
        return [self._token_ids(i, prompt) for i, prompt in enumerate(prompts)]

    def _token_ids(self, index: int, prompt: str) -> list[int]:
        if not isinstance(prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"prompts[{index}] is {prompt!r}; give a text")
        ids = self._tokenizer.encode(prompt).ids
        count = len(ids) - SPECIAL_TOKENS
        if count > self.max_tokens:
            raise InputError(
                f"prompts[{index}] has {count} tokens; allowed: at most {self.max_tokens}; "
                f"shorten it: {prompt[:60]!r}..."
            )
        return ids


def _load_config(path: Path) -> TextEncoderConfig:
    try:
        return TextEncoderConfig(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BundleError(f"can't read the text encoder's config {path}: {error}") from error


def _load_tokenizer(path: Path, vocab_size: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"can't read the tokenizer {path}: {error}") from error
    if tokenizer.get_vocab_size() != vocab_size:
        raise BundleError(f"{path} does not have the {vocab_size} word pieces of config.json")
    return tokenizer


def _load_network(path: Path, config: TextEncoderConfig) -> BertEncoder:
    with torch.device("meta"):  # no time spent on initial values that are replaced at once
        network = BertEncoder(config)
    try:
        stored = load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"can't read the text encoder's weights {path}: {error}") from error
    _check_tensors(path, stored, network.state_dict())
    network.load_state_dict(dequantise(stored), assign=True)
    return network


def _check_tensors(path: Path, stored: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    """Hold names, shapes and types against the network's; matrices are int8 with scales."""
    expected: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    for name, tensor in state.items():
        expected[name] = (tuple(tensor.shape), torch.int8 if tensor.ndim == 2 else torch.float16)
        if tensor.ndim == 2:
            expected[f"{name}_scale"] = ((tensor.shape[0],), torch.float16)
    missing, unexpected = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
    if missing or unexpected:
        raise BundleError(f"{path}: missing tensors {missing}, unexpected tensors {unexpected}")
    for name, (shape, dtype) in expected.items():
        found = stored[name]
        if tuple(found.shape) != shape or found.dtype != dtype:
            have, want = f"{list(found.shape)} {found.dtype}", f"{list(shape)} {dtype}"
            raise BundleError(f"{path}: {name} is {have}, expected {want}")


def dequantise(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Turn stored tensors into a float32 state dict.

    A matrix is stored as ``name`` [R, C] int8 and ``name_scale`` [R] float16, one factor per row.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        if name.endswith("_scale"):
            continue
        value = tensor.float()
        scale = stored.get(f"{name}_scale")
        state[name] = value if scale is None else value.mul_(scale.float()[:, None])
    return state
