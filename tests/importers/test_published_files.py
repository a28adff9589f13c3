from __future__ import annotations

import datetime
import fractions
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import published_toys as toy
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from soundleap.errors import BundleError
from soundleap.importers.checkpoint import Checkpoint, open_checkpoint


def _state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(4, 6, generator=generator)
    return {
        "a": first,
        "turned": first.t(),
        "part": first[1:3],
        "half": torch.randn(5, generator=generator).half(),
        "count": torch.tensor(3),
        "none": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }


def _alike(found: Checkpoint, expected: dict[str, Tensor]) -> None:
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def test_tensors_are_views_of_the_file_and_can_be_released(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(_state(), path)
    found = open_checkpoint(path)
    _alike(found, _state())
    found.release()
    _alike(found, _state())
    assert found["a"].data_ptr() == found["turned"].data_ptr()
    assert len(found.under("pa")) == 2
    assert "rameter" in found.under("pa")


def test_only_what_is_used_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"wanted": torch.ones(3), "other": torch.zeros(1000)}, path)
    data = path.read_bytes()
    start = data.index(np.ones(3, np.float32).tobytes())
    path.write_bytes(data[:start] + np.full(3, 7, np.float32).tobytes() + data[start + 12 :])
    assert open_checkpoint(path)["wanted"].tolist() == [7, 7, 7]  # no checksum was computed


def test_a_lightning_checkpoint_with_numpy_scalars(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(toy.lightning(_state(), scale_factor=torch.tensor(0.5)), path)
    found = open_checkpoint(path)
    _alike(found, _state())
    assert found.beside["global_step"] == 17
    assert found.beside["scale_factor"] == 0.5
    assert "optimizer_states" not in found.beside


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_numpy_scalars_under_both_names(tmp_path: Path, core: bytes) -> None:
    _rewrite(tmp_path / "a.pt", {"a": torch.ones(2), "best": np.float64(0.25)}, core)
    found = open_checkpoint(tmp_path / "a.pt")
    assert found.beside == {"best": 0.25}


def _rewrite(path: Path, content: Any, core: bytes) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            for name in (b"numpy._core.", b"numpy.core."):
                data = data.replace(name, b"numpy." + core + b".")
            new.writestr(entry.filename, data)


def test_tensors_saved_on_another_device(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(5.0)}, buffer)
    with zipfile.ZipFile(buffer) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            if entry.filename.endswith("data.pkl"):
                data = data.replace(b"\x03\0\0\0cpu", b"\x06\0\0\0cuda:0")
                assert b"cuda:0" in data
            new.writestr(entry.filename, data)
    assert open_checkpoint(path)["a"].tolist() == [0, 1, 2, 3, 4]


def test_an_old_torch_file_and_safetensors(tmp_path: Path) -> None:
    torch.save(_state(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    _alike(open_checkpoint(tmp_path / "old.pt"), _state())
    plain = {name: x.detach().contiguous().clone() for name, x in _state().items()}
    save_file(plain, tmp_path / "a.safetensors")
    found = open_checkpoint(tmp_path / "a.safetensors")
    _alike(found, plain)
    found.release()


@pytest.mark.parametrize("shift", range(4))
def test_a_file_that_lies_in_another_at_any_place(tmp_path: Path, shift: int) -> None:
    torch.save(_state(), tmp_path / "a.pt")
    inner = (tmp_path / "a.pt").read_bytes()
    path = tmp_path / "outer"
    path.write_bytes(b"x" * (64 + shift) + inner + b"tail")
    _alike(open_checkpoint(path, 64 + shift, len(inner)), _state())


@pytest.mark.parametrize("zipped", [True, False])
def test_foreign_classes_are_refused_and_named(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "a.pt"
    content = {"a": torch.ones(1), "x": fractions.Fraction(1, 2), "y": datetime.date(2020, 1, 1)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BundleError, match="fractions.Fraction") as caught:  # noqa: RUF043
        open_checkpoint(path)
    assert not zipped or "datetime.date" in str(caught.value)


class _Callback:
    """Stands for a class of Lightning's in a pickle."""


def test_lightning_classes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save(toy.lightning(_state(), hyper_parameters=_Callback()), path)
    with pytest.raises(BundleError, match="_Callback"):
        open_checkpoint(path)


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"a": torch.ones(1), "evil": Evil()}, tmp_path / "a.pt")
    with pytest.raises(BundleError, match="not allowed"):
        open_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.99])
@pytest.mark.parametrize("form", ["zip", "old", "safetensors"])
def test_truncated_files(tmp_path: Path, form: str, share: float) -> None:
    path = tmp_path / "a"
    if form == "safetensors":
        save_file({"a": torch.zeros(100)}, path)
    else:
        torch.save({"a": torch.zeros(100)}, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BundleError, match=r"damaged|no torch file"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"), [([1, 2], "holds list, not tensors"), ({"x": 1}, "holds no tensors")]
)
def test_files_of_something_else(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(BundleError, match=message):
        open_checkpoint(tmp_path / "a.pt")


def test_a_missing_file_and_a_text(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        open_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text").write_text("hello, this is text")
    with pytest.raises(BundleError, match="no torch file"):
        open_checkpoint(tmp_path / "text")
