"""Reference files: a description, inputs, weights and outputs."""

from __future__ import annotations

import json
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from soundleap.errors import InputError, SoundleapError


class ParityError(SoundleapError):
    """A reference can't be read, or asks for something that this package does not have."""


def find_pairs(folder: Path) -> list[Path]:
    """Return the path of every item in a folder without its ending, sorted.

    A file without its partner is listed too: `Item` says what is missing.

    Raises:
        InputError: if there is no such folder, or it holds no such file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give one with NAME_SET.json files")
    stems = {path.with_suffix("") for path in folder.iterdir() if path.is_file()
             and path.suffix in (".json", ".safetensors")}  # fmt: skip
    if not stems:
        raise InputError(f"{folder} holds no NAME_SET.json and NAME_SET.safetensors")
    return sorted(stems)


class Item:
    """One pair of files.

    Attributes:
        stem: the files' name without ending, ``NAME_SET``.
        description: what the JSON file holds.
        name: the item's name, which tells what it is about.
    """

    def __init__(self, path: Path) -> None:
        """Read the description and check it against the tensors' names, shapes and types.

        Args:
            path: the files' path without ending.

        Raises:
            ParityError: if a file is missing or damaged, or the two contradict each other.
        """
        self.path = path
        self.stem = path.name
        self.description = _read_json(path.with_name(f"{path.name}.json"))
        self.name = str(self.description.get("name", path.name.rpartition("_")[0]))
        self._check()

    @property
    def tensors_path(self) -> Path:
        """The file of tensors."""
        return self.path.with_name(f"{self.path.name}.safetensors")

    @property
    def constructor(self) -> dict[str, Any]:
        """Constructor values of the published classes."""
        return self.description.get("constructor", {})

    @cached_property
    def outputs(self) -> list[str]:
        """Names of the outputs, without ``out/``: those described in order, then any others."""
        with _open(self.tensors_path) as file:
            stored = [name for name in file.keys() if name.startswith("out/")]
        names = dict.fromkeys([*self.description["outputs"], *sorted(stored)])
        return [name.removeprefix("out/") for name in names]

    def has(self, name: str) -> bool:
        """Tell whether there is an input of this name, without ``in/``."""
        return f"in/{name}" in self.description["inputs"]

    def input(self, name: str) -> Tensor:
        """Read an input by its name without ``in/``.

        Raises:
            ParityError: if there is none.
        """
        if not self.has(name):
            raise ParityError(f"needs an input in/{name}, which is not there")
        return self._tensor(f"in/{name}")

    def output(self, name: str) -> Tensor:
        """Read a stored output by its name without ``out/``.

        Raises:
            ParityError: if it is not stored, or not as it is described.
        """
        full = f"out/{name}"
        value = self._tensor(full)
        described = self.description["outputs"].get(full)
        if described is None:
            raise ParityError(f"{full} is stored but not described")
        if list(value.shape) != described.get("shape"):
            raise ParityError(
                f"{full} is described as {described.get('shape')} but stored as {list(value.shape)}"
            )
        return value

    def meaning(self, name: str) -> str:
        """Give the description's words on an input or output by its full name."""
        tables = (self.description["inputs"], self.description["outputs"])
        return " ".join(str(table[name].get("meaning", "")) for table in tables if name in table)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Weights by their published names; those of another item where this one says so.

        Raises:
            ParityError: if there are none, or the other item's file is missing.
        """
        found = _weights(self._weights_path)
        if not found:
            raise ParityError(f"{self._weights_path.name} holds no weights")
        return found

    def weights_of(self, prefix: str) -> dict[str, Tensor]:
        """Give the weights under a prefix such as ``unet.``, without it.

        Raises:
            ParityError: if there are none.
        """
        found = {k.removeprefix(prefix): v for k, v in self.weights.items() if k.startswith(prefix)}
        if not found:
            raise ParityError(f"there are no weights {prefix}…")
        return found

    @cached_property
    def owner(self) -> Item:
        """The item that the weights belong to: this one, or the one that ``weights_file`` names.

        Raises:
            ParityError: if its files are missing or damaged.
        """
        path = self._weights_path.with_suffix("")
        return self if path == self.path else Item(path)

    @property
    def _weights_path(self) -> Path:
        other = self.description.get("weights_file")
        if other is None:
            return self.tensors_path
        name = str(other).split()[0] if str(other).split() else ""
        if not name.endswith(".safetensors") or Path(name).name != name:
            raise ParityError(f"weights_file is {other!r}; it must begin with a file's name")
        path = self.path.with_name(name)
        if not path.is_file():
            raise ParityError(f"weights_file {name} is not beside the item")
        return path

    def _tensor(self, name: str) -> Tensor:
        with _open(self.tensors_path) as file:
            if name not in set(file.keys()):
                raise ParityError(f"{name} is described but not stored")
            return file.get_tensor(name)

    def _check(self) -> None:
        if not self.outputs:
            raise ParityError("there is nothing to compare: no outputs are described")
        with _open(self.tensors_path) as file:
            stored = set(file.keys())
        missing = sorted(self.description["inputs"].keys() - stored)
        if missing:
            raise ParityError(f"described but not stored: {', '.join(missing)}")


def whole_number(name: str, value: Any) -> int:
    """Give a constructor value as an integer.

    Raises:
        ParityError: if it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ParityError(f"{name} is {value!r}; needed: a whole number")
    if int(value) != value:
        raise ParityError(f"{name} is {value!r}; needed: a whole number")
    return int(value)


def supported(values: Mapping[str, Any], **allowed: Any) -> None:
    """Refuse constructor values other than those that are built in; missing ones are fine.

    Raises:
        ParityError: naming the first that differs.
    """
    for name, value in allowed.items():
        if name in values and values[name] != value:
            raise ParityError(f"{name} is {values[name]!r}; supported: {value!r}")


def _weights(path: Path) -> dict[str, Tensor]:
    with _open(path) as file:
        return {
            name.removeprefix("weights/"): file.get_tensor(name)
            for name in file.keys()
            if name.startswith("weights/")
        }


def _read_json(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParityError(f"{path.name} is missing") from None
    except (OSError, ValueError) as error:
        raise ParityError(f"{path.name} can't be read: {error}") from None
    tables = ("inputs", "outputs")
    if not isinstance(description, dict) or not all(
        isinstance(description.get(table), dict) for table in tables
    ):
        raise ParityError(f"{path.name} describes no inputs and outputs")
    return description


@contextmanager
def _open(path: Path) -> Generator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise ParityError(f"{path.name} is missing") from None
    except (OSError, SafetensorError) as error:
        raise ParityError(f"{path.name} can't be read: {error}") from None
