"""Search in a folder of sounds, by words or by another sound.

Every file is heard once; its vector is kept in an index, a small file inside of the folder, under
the hash of the file's content, so that files that are renamed or moved are not heard again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from soundleap.audio.io import at_rate, read_audio, write_bytes
from soundleap.audio.names import sound_files
from soundleap.errors import AudioFileError, InputError, check_range

if TYPE_CHECKING:
    from soundleap.models.text_audio import TextAudioModel

INDEX = ".soundleap-search.safetensors"
MAX_TOP = 10_000
Vectors = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Hit:
    """A sound that was found.

    Attributes:
        file: its path.
        score: likeness to what was asked for, -1 to 1.
    """

    file: Path
    score: float


@dataclass(frozen=True)
class Found:
    """What a search gives.

    Attributes:
        hits: best first.
        sounds: how many files were compared.
        heard: how many of them were heard anew for it.
        unreadable: files that could not be read, each with the reason.
    """

    hits: tuple[Hit, ...]
    sounds: int
    heard: int
    unreadable: tuple[str, ...]


def search(
    folder: str | Path,
    query: str | None = None,
    *,
    like: str | Path | None = None,
    top: int = 10,
    index: str | Path | None = None,
    model: TextAudioModel | None = None,
    progress: bool = False,
) -> Found:
    """Find the sounds in a folder, and in those below it, that fit a text or are like a sound.

    Args:
        folder: with sound files of any sampling rate; names that begin with a dot are passed over.
        query: what is to be heard.
        like: a sound file to compare with; with a query both count alike.
        top: most hits, 1 to 10000.
        index: file that keeps the vectors; None takes one inside of the folder.
        model: the judge; None takes the one that ships.
        progress: show a bar on stderr.

    Raises:
        InputError: if there is no such folder, it holds no sound that can be read, nothing is
            asked for, or the query is too long.
        AudioFileError: if `like` can't be read, or the index can't be written.
    """
    check_range("top", top, 1, MAX_TOP)
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder} is no folder")
    if (query is None or not query.strip()) and like is None:
        raise InputError("nothing is asked for; give a query, or a file with like")
    judge = _open_model() if model is None else model
    wanted = _wanted(judge, query, like)
    path = root / INDEX if index is None else Path(index)
    names, vectors, heard, unreadable = _heard(root, path, judge, progress)
    if not names:
        raise InputError(f"{folder} holds no sound that can be read{_first(unreadable)}")
    scores = np.stack([vectors[name] for _, name in names]) @ wanted
    order = np.argsort(-scores, kind="stable")[:top]
    hits = tuple(Hit(names[i][0], float(scores[i])) for i in order)
    return Found(hits, len(names), heard, tuple(unreadable))


def read_sound(path: Path, sampling_rate: int) -> NDArray[np.float32]:
    """Read a file of any rate as mono samples at the rate given.

    Raises:
        AudioFileError: if it can't be read.
    """
    import soundfile

    try:
        own = int(soundfile.info(str(path)).samplerate)
    except (soundfile.SoundFileError, OSError) as error:
        raise AudioFileError(f"can't read {path}: {error}") from None
    return at_rate(read_audio(path, sampling_rate=own), own, sampling_rate)


def _open_model() -> TextAudioModel:
    from soundleap.models.text_audio import TextAudioModel

    return TextAudioModel.default()


def _wanted(
    model: TextAudioModel, query: str | None, like: str | Path | None
) -> NDArray[np.float32]:
    parts: list[NDArray[np.float32]] = []
    if query is not None and query.strip():
        parts.append(model.embed_text([query])[0])
    if like is not None:
        parts.append(model.embed_audio(read_sound(Path(like), model.sampling_rate)))
    total = np.sum(parts, axis=0)
    return (total / np.linalg.norm(total)).astype(np.float32)


def _heard(
    root: Path, index: Path, model: TextAudioModel, progress: bool
) -> tuple[list[tuple[Path, str]], Vectors, int, list[str]]:
    """Give readable files with their hashes, vectors by hash, how many are new, and faults."""
    kept = _read_index(index, model.weights_sha256)
    vectors: Vectors = {}
    names: list[tuple[Path, str]] = []
    faults: list[str] = []
    heard = 0
    for path in _shown(sound_files(root), progress):
        try:
            name = hashlib.sha256(path.read_bytes()).hexdigest()
            if name not in vectors and name not in kept:
                kept[name] = model.embed_audio(read_sound(path, model.sampling_rate))
                heard += 1
        except (AudioFileError, OSError) as error:
            faults.append(str(error))
            continue
        vectors[name] = kept[name]
        names.append((path, name))
    if heard or vectors.keys() != kept.keys():
        _write_index(index, vectors, model.weights_sha256)
    return names, vectors, heard, faults


def _shown(paths: Sequence[Path], progress: bool) -> Iterator[Path]:
    from tqdm import tqdm

    yield from tqdm(paths, unit="sound", disable=None if progress else True, leave=False)


def _read_index(path: Path, model: str) -> Vectors:
    """Read what was kept; nothing where there is no index of this model, or a damaged one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            facts = cast("dict[str, Any]", json.loads((file.metadata() or {})["index"]))
            if facts["model"] != model:
                return {}
            rows = file.get_tensor("vectors").astype(np.float32)
            return dict(zip(facts["sounds"], rows, strict=True))
    except (OSError, SafetensorError, KeyError, ValueError):
        return {}


def _write_index(path: Path, vectors: Vectors, model: str) -> None:
    from safetensors.numpy import save

    facts = {"index": json.dumps({"model": model, "sounds": list(vectors)})}
    rows = np.stack(list(vectors.values())) if vectors else np.zeros((0, 1), dtype=np.float32)
    try:
        write_bytes(path, save({"vectors": rows}, facts), overwrite=True)
    except AudioFileError as error:
        raise AudioFileError(f"{error}; give another place with index") from None


def _first(faults: Sequence[str]) -> str:
    return f" ({faults[0]})" if faults else ""
