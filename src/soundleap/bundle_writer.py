"""Writing a model folder."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from safetensors import SafetensorError

from soundleap.bundle import Bundle, hash_builtin_text, hash_file
from soundleap.bundle_schema import (
    CARD_NAME,
    MANIFEST_NAME,
    BuiltinText,
    Description,
    Family,
    FileHash,
    Manifest,
    Part,
    Parts,
    TextPart,
)
from soundleap.errors import BundleError, InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from soundleap.models.codec import Codec
    from soundleap.models.seams import Network

StoredType = Literal["float16", "float32"]
STORED_TYPES: dict[str, StoredType] = {
    "codec": "float32",
    "vocoder": "float16",
    "student": "float16",
    "teacher": "float16",
}
"""How each part is stored; a codec is small and its numbers differ widely in size."""


@dataclass(frozen=True)
class BundleParts:
    """Loaded parts, to be saved.

    Attributes:
        codec: latent codec and vocoder.
        student: network for few queries.
        teacher: network for many.
        text_folder: a text encoder's folder, to be copied; None for the built-in one.
    """

    codec: Codec
    student: Network | None = None
    teacher: Network | None = None
    text_folder: Path | None = None


def save_bundle(
    folder: str | Path,
    parts: BundleParts,
    description: Description,
    *,
    model_card: str | None = None,
    dtypes: Mapping[str, StoredType] | None = None,
    kind: Family = "default-family",
) -> Bundle:
    """Write a model folder; it appears whole or not at all.

    Args:
        folder: must not exist yet, or be empty.
        parts: what goes in.
        description: name, licence, sampling and so on.
        model_card: text of ``MODEL_CARD.md``; None writes a short one from the description.
        dtypes: how to store each of codec, vocoder, student, teacher; None takes `STORED_TYPES`.
        kind: the family that the parts are of.

    Returns:
        The new folder, opened.

    Raises:
        InputError: if the folder exists and is not empty.
        BundleError: if it can't be written, or a tensor does not fit its stored type.
    """
    target = Path(folder)
    types: dict[str, StoredType] = {**STORED_TYPES, **(dtypes or {})}
    with new_folder(target) as partial:
        files = {
            name: save_part(partial, name, module, types[name]) for name, module in _modules(parts)
        }
        manifest = Manifest(
            **dict(description),
            kind=kind,
            sampling_rate=parts.codec.sampling_rate,
            parts=Parts(**files, text=save_text(partial, parts.text_folder)),
        )
        write_manifest(partial, manifest, model_card)
    return Bundle(target)


def _modules(parts: BundleParts) -> Iterator[tuple[str, nn.Module]]:
    from torch import nn

    latent, vocoder = parts.codec.latent, parts.codec.vocoder
    named = {
        "codec": latent, "vocoder": vocoder, "student": parts.student, "teacher": parts.teacher
    }  # fmt: skip
    for name, module in named.items():
        if module is None:
            continue
        if not isinstance(module, nn.Module):
            raise BundleError(f"can't save a {name} of type {type(module).__name__}")
        yield name, module


def save_part(
    folder: Path,
    name: str,
    module: Any,
    dtype: StoredType,
    state: Mapping[str, Tensor] | None = None,
) -> Part:
    """Write a part into a model folder.

    Args:
        folder: of the model.
        name: of the part.
        module: with `config`; tensors that it names in `exact`, if it does, keep their type.
        dtype: of the others.
        state: other tensors than the module's own.

    Raises:
        BundleError: if the file can't be written, or a tensor does not fit its stored type.
    """
    import torch

    from soundleap.models.tensor_file import write_tensors

    path = folder / f"{name}.safetensors"
    measured = write_tensors(
        path,
        module.state_dict() if state is None else state,
        asdict(module.config),
        dtype=getattr(torch, dtype),
        exact=getattr(module, "exact", ()),
    )
    return Part(file=path.name, dtype=dtype, **dict(measured))


def save_text(folder: Path, source: Path | None) -> BuiltinText | TextPart:
    """Copy a text encoder's folder into a model folder; None: note that it is the built-in one."""
    if source is None:
        return hash_builtin_text()
    copy = folder / "text"
    copy.mkdir()
    from soundleap.models.registry import text_class

    files: dict[str, FileHash] = {}
    for name in text_class(source).FILES:
        shutil.copyfile(source / name, copy / name)
        files[name] = hash_file(copy / name)
    return TextPart(folder=copy.name, files=files)


def write_manifest(folder: Path, manifest: Manifest, card: str | None = None) -> None:
    """Write what a model folder says about itself; without a card a short one."""
    record = manifest.model_dump_json(indent=1) + "\n"
    (folder / MANIFEST_NAME).write_text(record, encoding="utf-8")
    text = short_card(manifest) if card is None else card
    (folder / CARD_NAME).write_text(text, encoding="utf-8")


@contextmanager
def new_folder(target: Path) -> Generator[Path]:
    """Give a folder beside the target that becomes the target if the block succeeds."""
    partial = target.parent / f".soundleap-{secrets.token_hex(4)}.partial"
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise InputError(f"{target} exists and is not an empty folder; give another name")
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise BundleError(f"can't write {target}: {error.strerror}") from None
    except SafetensorError as error:  # what a full disk is called there
        raise BundleError(f"can't write {target}: {error}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def short_card(manifest: Manifest) -> str:
    """Write a short ``MODEL_CARD.md``."""
    return (
        f"# {manifest.name} {manifest.version}\n\n"
        f"Licence: {manifest.licence}. Networks: {', '.join(manifest.networks)}.\n"
        f"Sounds of {manifest.sampling.min_duration_in_s:g} to "
        f"{manifest.sampling.max_duration_in_s:g} s from text, made by Soundleap.\n"
    )
