from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from soundleap.errors import BundleError, InputError
from soundleap.resolve import open_model


def test_a_folder(untrained_folder: Path) -> None:
    assert open_model(untrained_folder).folder == untrained_folder
    assert open_model(str(untrained_folder)).manifest.name == "untrained"


def test_nothing_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown model .*'defualt'; did you mean 'default'"):
        open_model("defualt")
    with pytest.raises(BundleError, match="does not exist"):
        open_model(str(tmp_path / "nowhere"))
    with pytest.raises(BundleError, match="does not exist"):
        open_model(Path("org/name"))


def run_offline(hub_id: str, cache: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from soundleap.cli.main import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "models", hub_id, "--json"],
        env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )


def test_a_hub_id_from_the_cache(untrained_folder: Path, tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repo = tmp_path / "models--soundleap--untrained"
    shutil.copytree(untrained_folder, repo / "snapshots" / revision)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(revision)
    found = run_offline("soundleap/untrained", tmp_path)
    assert found.returncode == 0, found.stderr
    facts = json.loads(found.stdout)["soundleap/untrained"]
    assert facts["name"] == "untrained 0"
    assert facts["folder"] == str(repo / "snapshots" / revision)


def test_a_hub_id_that_is_not_there(tmp_path: Path) -> None:
    found = run_offline("soundleap/nothing", tmp_path)
    assert found.returncode == 1
    assert "no folder soundleap/nothing, and can't fetch it from the hub" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(InputError, match="unknown model"):
        open_model("x" * 300)
    with pytest.raises(BundleError, match="does not exist"):
        open_model(Path("x" * 300))
