"""Text encoders with random weights, and tokenizers whose pieces are letters and made-up words."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import Unigram, WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer, Metaspace
from tokenizers.processors import TemplateProcessing

from soundleap.bundle import hash_file
from soundleap.bundle_schema import FileHash, TextPart
from soundleap.bundle_writer import StoredType
from soundleap.models.registry import text_class
from soundleap.models.tensor_file import write_tensors

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:!?'\"()-&@>/"


def write_text(folder: Path, config: Any, dtype: StoredType) -> TextPart:
    """Write a text encoder's folder with random weights.

    Args:
        folder: must not exist.
        config: a `T5Config` or a `BertT5Config`.
        dtype: how weights are stored.
    """
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(asdict(config)) + "\n", "utf-8")
    state = _state(config)
    write_tensors(folder / "model.safetensors", state, dtype=getattr(torch, dtype))
    if config.kind == "t5":
        letter_t5_tokenizer().save(str(folder / "tokenizer.json"))
    else:
        letter_t5_tokenizer().save(str(folder / "t5_tokenizer.json"))
        letter_bert_tokenizer().save(str(folder / "bert_tokenizer.json"))
    names = text_class(folder).FILES
    files: dict[str, FileHash] = {name: hash_file(folder / name) for name in names}
    return TextPart(folder=folder.name, files=files)


def letter_t5_tokenizer() -> Tokenizer:
    """Make a tokenizer with T5's special tokens that cuts words into letters."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    pieces += [(letter, -4.0) for letter in LETTERS]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=2))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer


def letter_bert_tokenizer() -> Tokenizer:
    """Make a tokenizer with BERT's special tokens that cuts words into letters."""
    lower = [letter for letter in LETTERS if letter == letter.lower()]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *lower, *(f"##{x}" for x in lower)]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    ends = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


def _state(config: Any) -> dict[str, torch.Tensor]:
    if config.kind == "t5":
        from soundleap.models.text_t5 import make_t5_network

        state = dict(make_t5_network(config).state_dict())
        state.pop("encoder.embed_tokens.weight", None)
        return state
    from soundleap.models.bert_t5_network import BertT5Network

    state = dict(BertT5Network(config).state_dict())
    state.pop("t5.encoder.embed_tokens.weight", None)
    return state
