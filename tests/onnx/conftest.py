from __future__ import annotations

from pathlib import Path

import pytest
from small_onnx import needs_export, write_small_bundle

from soundleap.bundle import Bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_small_bundle(tmp_path_factory.mktemp("onnx"), with_teacher=False)


@pytest.fixture(scope="session")
def exported(small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model as ONNX graphs; don't write into it."""
    needs_export()
    from soundleap.onnx.export import export_onnx

    out = tmp_path_factory.mktemp("exported") / "small"
    return export_onnx(small_bundle, out).folder
