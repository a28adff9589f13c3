from __future__ import annotations

import json

import pytest

from soundleap.errors import InputError
from soundleap.evaluation.protocols import PROTOCOLS, EvaluationProtocol, load_protocol
from soundleap.evaluation.protocols.definition import AudioRule, ProtocolClip, sha256_of
from soundleap.evaluation.protocols.heldout import build_heldout_protocol, heldout_protocol


def small(**changes) -> EvaluationProtocol:
    values = {
        "name": "small",
        "embedders": ("yamnet",),
        "audio": AudioRule(max_seconds=5.0),
        "clips": (
            ProtocolClip(id="a", caption="rain", seconds=2.0, source="here"),
            ProtocolClip(id="b", caption="a dog", seconds=3.0, label="dog"),
        ),
    }
    return EvaluationProtocol(**(values | changes))


def clips(**changes) -> tuple[ProtocolClip, ...]:
    first = {"id": "a", "caption": "rain", "seconds": 2.0} | changes
    return (ProtocolClip(**first), small().clips[1])


def test_hash_is_that_of_the_canonical_json():
    assert sha256_of({"b": 1, "a": ["é"]}) == sha256_of({"a": ["é"], "b": 1})
    # printf '{"a":1}' | sha256sum
    assert sha256_of({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    expected = {
        "format_version": 1,
        "naming": "plain",
        "audio": {
            "resampler": "soxr VHQ",
            "channels": "mean",
            "max_seconds": 5.0,
            "min_seconds": 0.0,
            "level_in_dbfs": None,
        },
        "embedders": ["yamnet"],
        "metrics": None,
        "label_set": None,
        "clips": [["a", "rain", 2.0, "a", None], ["b", "a dog", 3.0, "b", "dog"]],
    }
    assert small().hash == sha256_of(expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"audio": AudioRule(max_seconds=6.0)},
        {"audio": AudioRule(max_seconds=5.0, level_in_dbfs=-20.0)},
        {"embedders": ("vggish",)},
        {"metrics": ("fd",)},
        {"label_set": "esc10"},
        {"naming": "youtube"},
        {"clips": clips(caption="snow")},
        {"clips": clips(seconds=2.5)},
        {"clips": clips(reference="c")},
        {"clips": clips(label="rain")},
        {"clips": clips()[::-1]},
        {"clips": clips()[:1]},
    ],
)
def test_whatever_can_change_a_number_changes_the_hash(changes):
    assert small(**changes).hash != small().hash


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"title": "T", "notes": ("n",), "caption_rule": "first"},
        {"clips": clips(source="elsewhere", licence="CC0-1.0")},
        {"clips": clips(reference="a")},
    ],
)
def test_words_about_it_do_not_change_the_hash(changes):
    assert small(**changes).hash == small().hash


def test_other_embedders_make_another_protocol_over_the_same_list():
    other = small().with_embedders(["vggish", "clap"])
    assert other.name == "small+vggish+clap"
    assert other.hash != small().hash
    assert other.list_hash == small().list_hash
    assert small().with_embedders(["yamnet"]) == small()


def test_json_round_trip(tmp_path):
    protocol = small(notes=("é | “x”",), clips=clips(caption="rain\u2028 on tin"))
    protocol.save(tmp_path / "p.json")
    assert load_protocol(tmp_path / "p.json") == protocol
    assert len(protocol.to_json().split('{"id"')) == 3
    with pytest.raises(InputError, match="exists"):
        protocol.save(tmp_path / "p.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clips": []}, "clips: "),
        ({"volume": 11}, "volume: Extra inputs"),
        ({"audio": {"resampler": "linear"}}, "audio.resampler"),
        ({"audio": {"max_seconds": 0}}, "audio.max_seconds"),
        ({"embedders": []}, "embedders: "),
        ({"format_version": 2}, "format_version"),
        ({"clips": [{"id": "a", "caption": " ", "seconds": 1}]}, "clips.0.caption"),
        ({"clips": [{"id": "a", "caption": "x", "seconds": 1}] * 2}, "'a' is there twice"),
    ],
)
def test_faulty_json_is_refused_with_its_place(change, message):
    data = json.loads(small().to_json()) | change
    with pytest.raises(InputError, match=message):
        EvaluationProtocol.from_json(json.dumps(data))


def test_stamp_tells_hash_and_counts_as_plain_json():
    stamp = small().stamp()
    assert (stamp.name, stamp.hash) == ("small", small().hash)
    assert json.loads(json.dumps(stamp.details))["clips"] == 2
    assert small().preparation.resample
    assert small().preparation.max_seconds == 5.0


def test_heldout_list_is_the_split_of_the_corpus():
    shipped, built = heldout_protocol(), build_heldout_protocol()
    assert shipped == built
    assert shipped.hash == built.hash
    assert len(shipped.clips) == 253
    assert set(shipped.labels) == {c.id for c in shipped.clips if c.source == "esc10"}
    assert all(clip.licence and clip.caption for clip in shipped.clips)
    assert all(0.5 <= clip.seconds <= 10 for clip in shipped.clips)
    assert load_protocol("soundleap-heldout") == shipped


def test_heldout_labels_are_those_of_the_label_set():
    from soundleap.evaluation.tags import ESC10

    assert set(heldout_protocol().labels.values()) == set(ESC10)


def test_a_reference_from_the_training_part_is_refused(tmp_path):
    protocol = heldout_protocol()
    rows = [
        {"id": protocol.ids[0], "split": "heldout"},
        {"id": "something else", "split": "train"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    protocol.check_reference(manifest)
    protocol.check_reference(tmp_path)
    protocol.check_reference(tmp_path / "nowhere")
    manifest.write_text(json.dumps({"id": protocol.ids[1], "split": "train"}) + "\n")
    with pytest.raises(InputError, match=f"training part, first '{protocol.ids[1]}'"):
        protocol.check_reference(tmp_path)


def test_names_are_resolved_by_documented_forms_only():
    plain = small()
    assert plain.resolve("a") == "a"
    assert plain.resolve("sub/folder/b") == "b"
    assert plain.resolve("Ya") is None
    assert plain.resolve("a_30") is None
    name = "-AbC_123dEf"
    row = ProtocolClip(id=f"{name}-c2", caption="x", seconds=10.0, reference=name)
    tube = small(naming="youtube", clips=(row,))
    for form in (name, f"Y{name}", f"{name}_30", f"x/Y{name}_30", f"Y{name}_30_40"):
        assert tube.resolve(form) == name
    for form in (f"{name}-c2", f"Y{name}_30-c2"):
        assert tube.resolve(form) == f"{name}-c2"
    for form in (f"{name}-c3", f"{name}x", f"{name}_a", f"Z{name}", "0001"):
        assert tube.resolve(form) is None
    assert tube.references == {f"{name}-c2": name}
    assert tube.matching.wanted("reference") == {name}


def test_unknown_protocols_are_named(tmp_path):
    with pytest.raises(InputError, match="did you mean 'audiocaps-88"):
        load_protocol("audiocaps-883")
    with pytest.raises(InputError, match="reads no list"):
        load_protocol("soundleap-heldout", list_file=tmp_path / "x.csv")
    assert "soundleap-heldout" in PROTOCOLS
