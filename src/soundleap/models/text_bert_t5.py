"""Prompts to text states for AudioLCM and Make-An-Audio 2: BERT on the prompt, T5 on its structure.

Both encoders always read the same number of tokens. Nothing is masked: they were trained that way,
states at padding are part of what the transformer reads.

Source: Huang et al., Make-An-Audio 2 (2023), section 3.2; Devlin et al., BERT (2019); Raffel et
al., T5 (2020); Elizalde et al., CLAP (2023) (the projection). The networks are transformers'
``BertModel`` and ``T5EncoderModel``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file  # pyright: ignore[reportUnknownVariableType]
from tokenizers import Tokenizer
from torch import Tensor

from soundleap.errors import BundleError, InputError
from soundleap.models.bert_t5_network import BertT5Config, BertT5Network, load_bert_t5_network
from soundleap.models.text import TextStates

CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
BERT_TOKENIZER_FILE, T5_TOKENIZER_FILE = "bert_tokenizer.json", "t5_tokenizer.json"
_PARTS = ("bert", "t5")
PROMPTS_AT_ONCE = 16  # bounds the memory of a long list; never changes a result


class BertT5TextEncoder:
    """Tokenizers and networks together: prompts and structured captions in, `TextStates` out.

    Frozen: it is never trained here, so states carry no gradient history.

    Attributes:
        structured: True; every prompt comes with a structured caption.
        FILES: names of the files of its folder.
    """

    structured = True
    FILES = (CONFIG_FILE, WEIGHTS_FILE, BERT_TOKENIZER_FILE, T5_TOKENIZER_FILE)

    def __init__(
        self,
        config: BertT5Config,
        network: BertT5Network,
        bert_tokenizer: Tokenizer,
        t5_tokenizer: Tokenizer,
    ) -> None:
        """Join parts that belong together; `from_folder` loads ready ones."""
        self.config = config
        self.network = network.eval().requires_grad_(False)
        self._bert_tokenizer, self._t5_tokenizer = bert_tokenizer, t5_tokenizer

    @classmethod
    def from_folder(cls, folder: str | Path, dtype: torch.dtype | None = None) -> BertT5TextEncoder:
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
        return cls(
            config,
            load_bert_t5_network(folder / WEIGHTS_FILE, config, dtype or torch.float32),
            _load_tokenizer(folder / BERT_TOKENIZER_FILE, config.bert.vocab_size, 2),
            _load_tokenizer(folder / T5_TOKENIZER_FILE, config.t5.vocab_size, 1),
        )

    @property
    def dim(self) -> int:
        """Width D of the states."""
        return self.config.projection_dim

    @property
    def max_tokens(self) -> int:
        """Longest prompt in tokens, special ones not counted."""
        return self.config.max_tokens - 2

    @property
    def max_struct_tokens(self) -> int:
        """Longest structured caption in tokens, the end token not counted."""
        return self.config.max_tokens - 1

    def to(self, device: torch.device | str) -> BertT5TextEncoder:
        """Move the networks, and so the states that `encode` gives, to a device; returns itself."""
        self.network.to(device)
        return self

    def tokens(self, prompt: str) -> list[str]:
        """Cut a prompt into word pieces ("##" continues a word), without special tokens."""
        return self._bert_tokenizer.encode(prompt, add_special_tokens=False).tokens

    def struct_tokens(self, struct_prompt: str) -> list[str]:
        """Cut a structured caption into pieces ("▁" begins a word), without the end token."""
        return self._t5_tokenizer.encode(struct_prompt, add_special_tokens=False).tokens

    def count_tokens(self, prompt: str) -> int:
        """Count the tokens of a prompt, special ones not counted; 0 for the empty prompt."""
        return len(self.tokens(prompt))

    def count_struct_tokens(self, struct_prompt: str) -> int:
        """Count the tokens of a structured caption, the end token not counted."""
        return len(self.struct_tokens(struct_prompt))

    @torch.no_grad()
    def encode(
        self, prompts: Sequence[str], struct_prompts: Sequence[str] | None = None
    ) -> TextStates:
        """Encode prompts with their structured captions; two empty texts are the unconditional one.

        Args:
            prompts: B texts of at most `max_tokens` tokens each.
            struct_prompts: B structured captions of at most `max_struct_tokens` tokens each.

        Returns:
            `TextStates` on the networks' device, in float32: ``[B, 2N, D]``, N = `max_tokens` of
            the configuration, BERT's states before T5's. The mask is True everywhere.

        Raises:
            InputError: no prompts, something else than lists of texts, no structured caption to a
                prompt, or a text too long.
        """
        _check_texts("prompts", prompts)
        if struct_prompts is None or len(struct_prompts) != len(prompts):
            given = "none" if struct_prompts is None else str(len(struct_prompts))
            raise InputError(
                f"struct_prompts: {given} given for {len(prompts)} prompts; give one to each"
            )
        _check_texts("struct_prompts", struct_prompts)
        bert_ids = _ids("prompts", self._bert_tokenizer, prompts, self.config.max_tokens)
        t5_ids = _ids("struct_prompts", self._t5_tokenizer, struct_prompts, self.config.max_tokens)
        device = next(self.network.parameters()).device
        pairs = zip(
            bert_ids.to(device).split(PROMPTS_AT_ONCE),
            t5_ids.to(device).split(PROMPTS_AT_ONCE),
            strict=True,
        )
        embeds = torch.cat([self.network(*pair) for pair in pairs]).float()
        return TextStates(embeds=embeds, mask=torch.ones_like(embeds[:, :, 0], dtype=torch.bool))


def save_bert_t5_folder(
    folder: Path,
    config: BertT5Config,
    state: Mapping[str, Tensor],
    bert_tokenizer_json: str,
    t5_tokenizer_json: str,
) -> None:
    """Write an encoder's folder.

    Args:
        folder: where; made if it is not there.
        config: sizes.
        state: tensors of a `BertT5Network`, T5's word table once.
        bert_tokenizer_json: text of BERT's ``tokenizer.json``.
        t5_tokenizer_json: text of T5's ``tokenizer.json``.

    Raises:
        BundleError: if a tokenizer is not fit for the sizes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text, words, special in (
        (BERT_TOKENIZER_FILE, bert_tokenizer_json, config.bert.vocab_size, 2),
        (T5_TOKENIZER_FILE, t5_tokenizer_json, config.t5.vocab_size, 1),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        _load_tokenizer(folder / name, words, special)
    settings = json.dumps(asdict(config), indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(settings, encoding="utf-8")
    save_file({name: v.contiguous() for name, v in state.items()}, folder / WEIGHTS_FILE)


def _check_texts(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not texts:
        raise InputError(f"{name} is {texts!r}; give a list with at least one text")
    for i, text in enumerate(texts):
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"{name}[{i}] is {text!r}; give a text")


def _ids(name: str, tokenizer: Tokenizer, texts: Sequence[str], length: int) -> Tensor:
    special = len(tokenizer.encode("").ids)
    rows = [tokenizer.encode(text).ids for text in texts]
    for i, row in enumerate(rows):
        if len(row) > length:
            raise InputError(
                f"{name}[{i}] has {len(row) - special} tokens; allowed: at most "
                f"{length - special}; shorten it: {texts[i][:60]!r}..."
            )
    return torch.tensor([row + [0] * (length - len(row)) for row in rows])


def _load_config(path: Path) -> BertT5Config:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = TypeAdapter(BertT5Config).validate_python(values)
    except (OSError, ValueError) as error:
        raise BundleError(f"can't read the text encoder's config {path}: {error}") from error
    known = asdict(config)
    unknown = [
        key
        for given, names in ((values, known), *((values.get(k, {}), known[k]) for k in _PARTS))
        for key in given
        if key not in names
    ]
    if unknown:
        raise BundleError(f"{path} has unknown settings: {', '.join(unknown)}")
    return config


def _load_tokenizer(path: Path, vocab_size: int, special_tokens: int) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises bare Exception
        raise BundleError(f"can't read the tokenizer {path}: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    if tokenizer.get_vocab_size() > vocab_size:
        raise BundleError(f"{path} has more than the {vocab_size} pieces of config.json")
    if len(tokenizer.encode("").ids) != special_tokens:
        raise BundleError(f"{path} does not add {special_tokens} special tokens to a text")
    return tokenizer
