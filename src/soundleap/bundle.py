"""A model folder: safetensors files, ``soundleap.json`` and ``MODEL_CARD.md``."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from soundleap.bundle_schema import (
    CARD_NAME,
    MANIFEST_NAME,
    Description,
    FileHash,
    Manifest,
    NetworkName,
    Part,
    Parts,
    TextPart,
    read_manifest,
)
from soundleap.errors import BundleError, InputError

if TYPE_CHECKING:
    from torch import nn

    from soundleap.models.codec import Codec
    from soundleap.models.dit import DiT
    from soundleap.models.text import TextEncoder

StoredType = Literal["float16", "float32"]
STORED_TYPES: dict[str, StoredType] = {
    "codec": "float32",
    "vocoder": "float16",
    "student": "float16",
    "teacher": "float16",
}
"""How each part is stored; a codec is small and its numbers differ widely in size."""

_Config = TypeVar("_Config")


@dataclass(frozen=True)
class BundleParts:
    """Loaded parts, to be saved.

    Attributes:
        codec: its latent codec must be a `PatchPCA`.
        student: network for few queries.
        teacher: network for many.
        text_folder: a text encoder's folder, to be copied; None for the built-in one.
    """

    codec: Codec
    student: DiT | None = None
    teacher: DiT | None = None
    text_folder: Path | None = None


class Bundle:
    """An opened model folder; parts are verified and loaded when they are asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Open a folder.

        Raises:
            BundleError: if the folder or its description is missing or not valid.
        """
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise BundleError(f"model folder {self.folder} does not exist")
        self.manifest: Manifest = read_manifest(self.folder)

    def load_codec(self) -> Codec:
        """Load the codec, float32 on the CPU.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        from soundleap.audio.mel import LogMel, MelConfig
        from soundleap.models.codec import Codec
        from soundleap.models.istft_vocoder import ISTFTVocoder, ISTFTVocoderConfig
        from soundleap.models.patch_pca import PatchPCA, PatchPCAConfig
        from soundleap.models.store import load_state

        latent_path = self._verified(self.manifest.parts.codec)
        latent = PatchPCA(_config(latent_path, PatchPCAConfig))
        load_state(latent_path, latent)
        vocoder_path = self._verified(self.manifest.parts.vocoder)
        config = _config(vocoder_path, ISTFTVocoderConfig, {"mel": MelConfig})
        vocoder = ISTFTVocoder(config)
        load_state(vocoder_path, vocoder)
        return Codec(LogMel(config.mel), latent, vocoder).eval().requires_grad_(False)

    def load_network(self, name: NetworkName) -> DiT:
        """Load the student or the teacher, float32 on the CPU.

        Raises:
            BundleError: if this model has none, or the file is missing or damaged.
        """
        from soundleap.models.dit import DiT, DiTConfig
        from soundleap.models.store import load_state

        part: Part | None = getattr(self.manifest.parts, name)
        if part is None:
            raise BundleError(f"model {self.manifest.name} has no {name}")
        path = self._verified(part)
        network = DiT(_config(path, DiTConfig))
        load_state(path, network)
        return network.eval().requires_grad_(False)

    def load_text(self) -> TextEncoder:
        """Load the text encoder.

        Raises:
            BundleError: if a file is missing or damaged.
        """
        from soundleap.models.text import TextEncoder

        text = self.manifest.parts.text
        if text == "builtin":
            return TextEncoder.default()
        return TextEncoder.from_folder(self._verified_text(text))

    @property
    def text_folder(self) -> Path | None:
        """The text encoder's own folder; None where the built-in one is used."""
        text = self.manifest.parts.text
        return None if text == "builtin" else self.folder / text.folder

    def verify(self) -> None:
        """Compare every file with its recorded hash.

        Raises:
            BundleError: naming the first file that is missing or differs, and both hashes.
        """
        parts = self.manifest.parts
        for part in (parts.codec, parts.vocoder, parts.student, parts.teacher):
            if part is not None:
                self._verified(part)
        if parts.text != "builtin":
            self._verified_text(parts.text)

    def _verified(self, part: Part) -> Path:
        path = self.folder / part.file
        check_file(path, part)
        return path

    def _verified_text(self, text: TextPart) -> Path:
        folder = self.folder / text.folder
        for name, recorded in text.files.items():
            check_file(folder / name, recorded)
        return folder


def check_file(path: Path, recorded: FileHash) -> None:
    """Raise `BundleError` unless a file has the recorded size and hash."""
    found = hash_file(path)
    if found.bytes != recorded.bytes or found.sha256 != recorded.sha256:
        raise BundleError(
            f"{path} is damaged: it has {found.bytes} bytes and SHA-256 {found.sha256}, recorded "
            f"are {recorded.bytes} bytes and {recorded.sha256}; fetch the model again"
        )


def hash_file(path: Path) -> FileHash:
    """Measure a file.

    Raises:
        BundleError: if it can't be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileHash(sha256=digest, bytes=path.stat().st_size)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing; fetch the model again") from None
    except OSError as error:
        raise BundleError(f"can't read {path}: {error.strerror}") from None


def save_bundle(
    folder: str | Path,
    parts: BundleParts,
    description: Description,
    *,
    model_card: str | None = None,
    dtypes: Mapping[str, StoredType] | None = None,
) -> Bundle:
    """Write a model folder; it appears whole or not at all.

    Args:
        folder: must not exist yet, or be empty.
        parts: what goes in.
        description: name, licence, sampling and so on.
        model_card: text of ``MODEL_CARD.md``; None writes a short one from the description.
        dtypes: how to store each of codec, vocoder, student, teacher; None takes `STORED_TYPES`.

    Returns:
        The new folder, opened.

    Raises:
        InputError: if the folder exists and is not empty.
        BundleError: if it can't be written, or a tensor does not fit its stored type.
    """
    target = Path(folder)
    types = {**STORED_TYPES, **(dtypes or {})}
    with _new_folder(target) as partial:
        files = {
            name: _save_part(partial, name, module, config, types[name])
            for name, module, config in _modules(parts)
        }
        text = "builtin" if parts.text_folder is None else _copy_text(partial, parts.text_folder)
        manifest = Manifest(
            **dict(description),
            sampling_rate=parts.codec.sampling_rate,
            parts=Parts(**files, text=text),
        )
        (partial / MANIFEST_NAME).write_text(
            manifest.model_dump_json(indent=1) + "\n", encoding="utf-8"
        )
        card = _short_card(manifest) if model_card is None else model_card
        (partial / CARD_NAME).write_text(card, encoding="utf-8")
    return Bundle(target)


def _modules(parts: BundleParts) -> Iterator[tuple[str, nn.Module, Any]]:
    from soundleap.models.patch_pca import PatchPCA

    latent = parts.codec.latent
    if not isinstance(latent, PatchPCA):
        raise BundleError(f"can't save a latent codec of type {type(latent).__name__}")
    yield "codec", latent, latent.config
    yield "vocoder", parts.codec.vocoder, parts.codec.vocoder.config
    for name, network in (("student", parts.student), ("teacher", parts.teacher)):
        if network is not None:
            yield name, network, network.config


def _save_part(folder: Path, name: str, module: nn.Module, config: Any, dtype: StoredType) -> Part:
    import torch

    from soundleap.models.store import save_module

    path = folder / f"{name}.safetensors"
    save_module(path, module, asdict(config), getattr(torch, dtype))
    return Part(file=path.name, dtype=dtype, **dict(hash_file(path)))


def _copy_text(folder: Path, source: Path) -> TextPart:
    copy = folder / "text"
    shutil.copytree(source, copy)
    files = {path.name: hash_file(path) for path in sorted(copy.iterdir())}
    return TextPart(folder=copy.name, files=files)


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Give a folder beside the target that becomes the target if the block succeeds."""
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} exists and is not an empty folder; give another name")
    partial = target.parent / f".soundleap-{secrets.token_hex(4)}.partial"
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.replace(target)
    except OSError as error:
        raise BundleError(f"can't write {target}: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _short_card(manifest: Manifest) -> str:
    return (
        f"# {manifest.name} {manifest.version}\n\n"
        f"Licence: {manifest.licence}. Networks: {', '.join(manifest.networks)}.\n"
        f"Sounds of {manifest.sampling.min_duration_in_s:g} to "
        f"{manifest.sampling.max_duration_in_s:g} s from text, made by Soundleap.\n"
    )


def _config(
    path: Path, kind: type[_Config], nested: Mapping[str, type[Any]] | None = None
) -> _Config:
    """Build a configuration from a file's header."""
    from soundleap.models.store import read_config

    values = read_config(path)
    try:
        for key, inner in (nested or {}).items():
            values[key] = inner(**values[key])
        return kind(**values)
    except (KeyError, TypeError) as error:
        raise BundleError(f"{path} carries a configuration that does not fit: {error}") from None
