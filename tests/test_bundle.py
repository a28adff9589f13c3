from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from soundleap.bundle import BUILTIN_TEXT, Bundle
from soundleap.bundle_schema import Description, Sampling
from soundleap.bundle_writer import BundleParts, save_bundle
from soundleap.debug import write_untrained_bundle
from soundleap.errors import BundleError, InputError


@pytest.fixture
def folder(untrained_folder: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(untrained_folder, tmp_path / "model"))


def change_manifest(folder: Path, **changes: Any) -> None:
    path = folder / "soundleap.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def description(folder: Path, **changes: Any) -> Description:
    manifest = Bundle(folder).manifest
    return Description(
        **{**{name: getattr(manifest, name) for name in Description.model_fields}, **changes}
    )


def test_a_folder_holds_what_it_says(untrained_folder: Path) -> None:
    names = {path.name for path in untrained_folder.iterdir()}
    assert names == {
        "MODEL_CARD.md",
        "soundleap.json",
        *(f"{part}.safetensors" for part in ("codec", "vocoder", "student", "teacher")),
    }
    bundle = Bundle(untrained_folder)
    bundle.verify()
    manifest = bundle.manifest
    assert manifest.networks == ("student", "teacher")
    assert manifest.sampling_rate == bundle.load_codec().sampling_rate == 16000
    assert manifest.size_in_bytes == sum(
        path.stat().st_size for path in untrained_folder.glob("*.safetensors")
    )
    assert bundle.load_network("student").config.guided
    assert not bundle.load_network("teacher").config.guided


def test_loaded_values_are_the_saved_ones(untrained_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(untrained_folder)
    parts = BundleParts(bundle.load_codec(), bundle.load_network("student"))
    copy = save_bundle(tmp_path / "copy", parts, description(untrained_folder))
    assert copy.manifest.networks == ("student",)
    assert parts.student is not None
    again = copy.load_network("student").state_dict()
    for name, value in parts.student.state_dict().items():
        assert torch.equal(value, again[name]), name
    assert copy.manifest.parts.student == bundle.manifest.parts.student  # hash included


def test_the_fingerprint_follows_what_shapes_a_sound(
    untrained_folder: Path, tmp_path: Path
) -> None:
    bundle = Bundle(untrained_folder)
    same = write_untrained_bundle(tmp_path / "same")
    assert same.manifest.fingerprint == bundle.manifest.fingerprint
    other = write_untrained_bundle(tmp_path / "other", seed=1)
    assert other.manifest.fingerprint != bundle.manifest.fingerprint
    renamed = bundle.manifest.model_copy(update={"name": "x", "provenance": {"a": 1}})
    assert renamed.fingerprint == bundle.manifest.fingerprint


def test_fingerprints_of_models_made_before_a_field_was_known_stay(untrained_folder: Path) -> None:
    manifest = Bundle(untrained_folder).manifest
    shaping = manifest.model_dump(mode="json", include={"kind", "parts", "sampling"})
    assert shaping["sampling"].pop("student_guided") is True
    before = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()
    assert manifest.fingerprint == before
    told = {"student_guided": False, "guidance_range": (3.0, 3.0)}
    other = manifest.model_copy(update={"sampling": manifest.sampling.model_copy(update=told)})
    ranged = {"guidance_range": (3.0, 3.0)}
    same = manifest.model_copy(update={"sampling": manifest.sampling.model_copy(update=ranged)})
    assert other.fingerprint != same.fingerprint


def test_a_text_encoder_of_its_own(untrained_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(untrained_folder)
    parts = BundleParts(bundle.load_codec(), bundle.load_network("student"), None, BUILTIN_TEXT)
    own = save_bundle(tmp_path / "own", parts, description(untrained_folder))
    assert own.text_folder == tmp_path / "own" / "text"
    own.verify()
    assert own.load_text().dim == bundle.load_text().dim
    (own.text_folder / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer.json is damaged: it has 2 bytes"):
        own.load_text()


def test_another_built_in_text_encoder_is_refused(folder: Path) -> None:
    parts = json.loads((folder / "soundleap.json").read_text())["parts"]
    change_manifest(folder, parts={**parts, "text": {"builtin": "0" * 64}})
    with pytest.raises(BundleError, match="made for another text encoder"):
        Bundle(folder).load_text()


def test_a_missing_folder_or_description(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere does not exist"):
        Bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"is no model folder: it has no soundleap.json"):
        Bundle(tmp_path)
    (tmp_path / "soundleap.json").write_text("{")
    with pytest.raises(BundleError, match="can't read"):
        Bundle(tmp_path)
    (tmp_path / "soundleap.json").write_text("[]")
    with pytest.raises(BundleError, match="it has no format_version"):
        Bundle(tmp_path)


def test_a_newer_format_asks_for_an_upgrade(folder: Path) -> None:
    change_manifest(folder, format_version=2, news="unknown to this version")
    with pytest.raises(BundleError, match=r"format_version 2.*upgrade"):
        Bundle(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nmae": "x"}, "nmae: Extra inputs"),
        ({"kind": "other-family"}, "kind: Input should be 'default-family'"),
        ({"licence": None}, "licence: Input should be a valid string"),
        ({"sampling": {"grid": [999.0]}}, "max_steps is 8; grid has fewer points"),
        ({"sampling": {"grid": list(range(9)), "default_guidance_scale": 9}}, "allowed: 1.0 to 6"),
    ],
)
def test_a_wrong_description_is_named(folder: Path, changes: dict[str, Any], message: str) -> None:
    change_manifest(folder, **changes)
    with pytest.raises(BundleError, match=message):
        Bundle(folder)


@pytest.mark.parametrize("name", ["../student.safetensors", "/etc/passwd", ".hidden", "a\\b"])
def test_parts_stay_inside_the_folder(folder: Path, name: str) -> None:
    parts = json.loads((folder / "soundleap.json").read_text())["parts"]
    parts["student"]["file"] = name
    change_manifest(folder, parts=parts)
    with pytest.raises(BundleError, match="plain name"):
        Bundle(folder)


def test_damage_names_the_file_and_both_hashes(folder: Path) -> None:
    path = folder / "student.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    bundle = Bundle(folder)
    bundle.load_codec()  # parts that are not touched stay usable
    recorded = bundle.manifest.parts.student
    assert recorded is not None
    for load in (bundle.verify, lambda: bundle.load_network("student")):
        with pytest.raises(BundleError, match=r"student.safetensors is damaged") as caught:
            load()
        assert recorded.sha256 in str(caught.value)
        assert str(caught.value).count("SHA-256") == 1


def test_a_missing_part(folder: Path) -> None:
    (folder / "vocoder.safetensors").unlink()
    with pytest.raises(BundleError, match=r"vocoder.safetensors is missing"):
        Bundle(folder).load_codec()


def test_a_network_that_is_not_there(untrained_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(untrained_folder)
    parts = BundleParts(bundle.load_codec(), bundle.load_network("student"))
    small = save_bundle(tmp_path / "small", parts, description(untrained_folder))
    with pytest.raises(BundleError, match="has no teacher"):
        small.load_network("teacher")


def test_saving_is_all_or_nothing(untrained_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(untrained_folder)
    student = bundle.load_network("student")
    student.outward.bias.fill_(1e6)  # too large for float16
    parts = BundleParts(bundle.load_codec(), student)
    with pytest.raises(
        BundleError, match=r"outward.bias holds numbers too large for torch.float16"
    ):
        save_bundle(tmp_path / "new", parts, description(untrained_folder))
    assert list(tmp_path.iterdir()) == []
    saved = save_bundle(
        tmp_path / "new", parts, description(untrained_folder), dtypes={"student": "float32"}
    )
    assert float(saved.load_network("student").outward.bias[0]) == 1e6


def test_an_existing_folder_is_kept(untrained_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    bundle = Bundle(untrained_folder)
    parts = BundleParts(bundle.load_codec(), bundle.load_network("student"))
    with pytest.raises(InputError, match="not an empty folder"):
        save_bundle(tmp_path, parts, description(untrained_folder))
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_a_bundle_needs_a_network(untrained_folder: Path, tmp_path: Path) -> None:
    parts = BundleParts(Bundle(untrained_folder).load_codec())
    with pytest.raises(ValueError, match="neither a student nor a teacher"):
        save_bundle(tmp_path / "new", parts, description(untrained_folder))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"default_steps": 9}, "the student's default steps are 9; allowed: 1 to 8"),
        ({"default_teacher_steps": 0}, "the teacher's default steps are 0"),
        ({"teacher_guidance_range": (4.0, 9.0)}, r"allowed: 4.0 to 9.0 \(teacher\)"),
        ({"min_duration_in_s": 11.0}, "min_duration_in_s must be above 0"),
    ],
)
def test_defaults_are_within_their_own_limits(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sampling(grid=tuple(range(19, 1000, 20)), **changes)
