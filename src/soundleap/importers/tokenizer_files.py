"""Tokenizers as ``tokenizer.json``, found or converted from older forms.

Older forms are T5's ``spiece.model`` (SentencePiece, a protocol buffer) and BERT's ``vocab.txt``.
Both are converted with the ``tokenizers`` library alone.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from soundleap.errors import BundleError
from soundleap.importers.hub import fetch_first, parse_hub_id

T5_HUB_ID, BERT_HUB_ID = "google/flan-t5-large", "bert-base-uncased"
_EXTRA_IDS = 100
_SPACE = "▁"


def t5_tokenizer(source: str | None, vocab_size: int) -> str:
    """Give the text of T5's ``tokenizer.json``.

    Args:
        source: a ``tokenizer.json`` or ``spiece.model``, a folder with one, a hub id, or None for
            FLAN-T5-large's on the hub.
        vocab_size: rows of the encoder's word table.

    Raises:
        BundleError: if it can't be found or read, or is not a tokenizer for this encoder.
    """
    forms = {"tokenizer.json": _read_json, "spiece.model": convert_sentencepiece}
    return _tokenizer("--tokenizer", source, T5_HUB_ID, forms, vocab_size, ["</s>"])


def bert_tokenizer(source: str | None, vocab_size: int) -> str:
    """Give the text of BERT's ``tokenizer.json``; as `t5_tokenizer`, from a ``vocab.txt`` too."""
    forms = {"tokenizer.json": _read_json, "vocab.txt": convert_vocabulary}
    return _tokenizer(
        "--bert-tokenizer", source, BERT_HUB_ID, forms, vocab_size, ["[CLS]", "[SEP]"]
    )


def convert_sentencepiece(path: Path) -> Tokenizer:
    """Convert T5's ``spiece.model``: its pieces with their scores, and 100 extra ones.

    Source: Kudo and Richardson, SentencePiece (2018), and its ``ModelProto``.
    """
    pieces: list[tuple[str, float]] = []
    charsmap = b""
    for number, value in _fields(path.read_bytes()):
        if number == 1:
            record = dict(_fields(value))
            score = struct.unpack("<f", record.get(2, b"\0\0\0\0"))[0]
            pieces.append((record[1].decode("utf-8"), score))
        elif number == 3:
            charsmap = dict(_fields(value)).get(2, b"")
    names = [name for name, _ in pieces]
    extra = [f"<extra_id_{i}>" for i in reversed(range(_EXTRA_IDS))]
    pieces += [(name, 0.0) for name in extra]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=names.index("<unk>")))
    if charsmap:
        tokenizer.normalizer = normalizers.Precompiled(charsmap)
    words = pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), words])
    tokenizer.decoder = decoders.Metaspace(replacement=_SPACE, prepend_scheme="always")
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *extra])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", names.index("</s>"))]
    )
    return tokenizer


def convert_vocabulary(path: Path) -> Tokenizer:
    """Convert the ``vocab.txt`` of an uncased BERT."""
    words = path.read_text(encoding="utf-8").split("\n")
    numbers = {word: i for i, word in enumerate(words) if word}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    ends = [(name, numbers[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return tokenizer


def _tokenizer(
    option: str,
    source: str | None,
    hub_id: str,
    forms: dict[str, Callable[[Path], Tokenizer]],
    vocab_size: int,
    ends: list[str],
) -> str:
    path = _find(option, source, hub_id, list(forms))
    form = forms.get(path.name)
    if form is None:
        form = next(f for name, f in forms.items() if path.suffix == Path(name).suffix)
    try:
        tokenizer = form(path)
    except Exception as error:  # tokenizers raises bare Exception, a foreign file anything
        raise BundleError(f"can't read the tokenizer {path}: {error}") from None
    if [tokenizer.id_to_token(number) for number in tokenizer.encode("").ids] != ends:
        raise BundleError(
            f"{path} is another kind of tokenizer: it should add {' and '.join(ends)} to a text; "
            f"give the right one with {option}"
        )
    if tokenizer.get_vocab_size() > vocab_size:
        raise BundleError(
            f"{path} has {tokenizer.get_vocab_size()} pieces but the encoder knows {vocab_size}; "
            f"give the right one with {option}"
        )
    return tokenizer.to_str()


def _find(option: str, source: str | None, hub_id: str, names: list[str]) -> Path:
    path = Path(source or hub_id)
    if source is not None and path.is_file():
        if path.suffix not in {Path(name).suffix for name in names}:
            raise BundleError(f"{path} is no tokenizer; give {' or '.join(names)} with {option}")
        return path
    if source is not None and path.is_dir():
        found = next((path / name for name in names if (path / name).is_file()), None)
        if found is None:
            raise BundleError(f"{path} holds no tokenizer; it needs {' or '.join(names)}")
        return found
    parsed = parse_hub_id(hub_id if source is None else source)
    if source is not None and parsed is None:
        raise BundleError(f"{option} {source} does not exist")
    try:
        return fetch_first(parsed.repo if parsed else hub_id, names)
    except BundleError as error:
        raise BundleError(
            f"the checkpoint holds no tokenizer, and {error}; "
            f"give {' or '.join(names)} with {option}"
        ) from None


def _read_json(path: Path) -> Tokenizer:
    return Tokenizer.from_str(path.read_text(encoding="utf-8"))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Walk through the fields of a protocol buffer: number and value, bytes or a whole number."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if size is None:
                size, place = _varint(data, place)
            value = data[place : place + size]
            place += size
        yield number, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, place
