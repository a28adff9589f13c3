from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from soundleap.errors import BundleError
from soundleap.models.store import read_config
from soundleap.models.tensor_file import stored_size, write_tensors


def _tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "weight": torch.randn(5, 3, generator=generator),
        "turned": torch.randn(4, 6, generator=generator).t()[1:, ::2],
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False, True]),
        "half": torch.randn(3, generator=generator).half(),
        "nothing": torch.zeros(0, 2),
    }


def _alike(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_round_trip_with_config_hash_and_size(tmp_path: Path) -> None:
    path, sizes = tmp_path / "a.safetensors", []
    made = write_tensors(path, _tensors(), {"kind": "x", "n": 3}, written=sizes.append)
    _alike(load_file(path), _tensors())
    assert read_config(path) == {"kind": "x", "n": 3}
    data = path.read_bytes()
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.bytes == len(data) == sum(sizes)
    assert list(tmp_path.iterdir()) == [path]


def test_type_is_changed_but_for_the_exact_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, _tensors(), dtype=torch.float16, exact=["weight"])
    expected = {
        name: value.half() if value.is_floating_point() and name != "weight" else value
        for name, value in _tensors().items()
    }
    _alike(load_file(path), expected)
    size = sum(value.numel() * value.element_size() for value in expected.values())
    assert stored_size(_tensors(), torch.float16, ["weight"]) == size


def test_numbers_at_odd_addresses(tmp_path: Path) -> None:
    raw = torch.arange(41, dtype=torch.uint8)
    odd = torch.frombuffer(raw.numpy().data, dtype=torch.float32, count=10, offset=1)
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"odd": odd})
    assert load_file(path)["odd"].view(torch.uint8).tolist() == list(range(1, 41))


class _Lazy(Mapping[str, Tensor]):
    """Makes each tensor when it is asked for, and counts how many are alive."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getitem__(self, name: str) -> Tensor:
        self.asked.append(name)
        return torch.full((2,), float(name))

    def __iter__(self) -> Iterator[str]:
        return iter("123")

    def __len__(self) -> int:
        return 3


def test_a_lazy_mapping_is_asked_for_shapes_then_for_numbers(tmp_path: Path) -> None:
    lazy, path = _Lazy(), tmp_path / "a.safetensors"
    write_tensors(path, lazy)
    assert lazy.asked == ["1", "2", "3", "1", "2", "3"]
    _alike(load_file(path), {name: torch.full((2,), float(name)) for name in "123"})


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (float("nan"), None, "tensor bad holds NaN or infinity"),
        (float("inf"), torch.float16, "tensor bad holds NaN or infinity"),
        (1e5, torch.float16, "tensor bad holds numbers too large for torch.float16"),
    ],
)
def test_numbers_that_can_not_be_stored(
    tmp_path: Path, value: float, dtype: torch.dtype | None, message: str
) -> None:
    tensors = {"a": torch.zeros(3), "bad": torch.tensor([0.0, value])}
    with pytest.raises(BundleError, match=message):
        write_tensors(tmp_path / "a.safetensors", tensors, dtype=dtype)
    assert not any(tmp_path.iterdir())


def test_an_unknown_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="tensor z: it is"):
        write_tensors(tmp_path / "a.safetensors", {"z": torch.zeros(2, dtype=torch.complex64)})


def test_an_old_file_stays_when_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, {"a": torch.ones(2)})
    with pytest.raises(BundleError):
        write_tensors(path, {"a": torch.tensor([float("nan")])})
    assert load_file(path)["a"].tolist() == [1, 1]
    assert list(tmp_path.iterdir()) == [path]


_FULL = """
import resource, signal, sys
from pathlib import Path
import torch
from soundleap.errors import BundleError
from soundleap.models.tensor_file import write_tensors

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_tensors(Path(sys.argv[1]), {"a": torch.zeros(1_000_000)})
except BundleError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ"), reason="needs limits of file sizes")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    run = subprocess.run(
        [sys.executable, "-c", _FULL, path], capture_output=True, text=True, check=True
    )
    assert run.stdout == f"can't write {path}: {os.strerror(errno.EFBIG)}\n"
    assert not any(tmp_path.iterdir())
