from pathlib import Path

import pytest

from soundleap.data.captions import KINDS, caption_key, parse_captions, read_captions
from soundleap.data.corpora.facts import read_facts
from soundleap.errors import InputError

HEADER = "source\tstem\tkind\tcaptions"


def test_packaged_table_is_sound_and_covers_the_corpus():
    table = read_captions()
    used = {caption_key(clip.source, clip.stem, clip.label_words) for clip in read_facts()}
    assert used == set(table)
    for row in table.values():
        assert bool(row.captions) == (row.kind in KINDS)
        assert bool(row.reason) == (row.kind == "drop")


def test_rows():
    rows, faults = parse_captions(
        f"{HEADER}\na\tb/c\tvoice\ta dog | it's 2, 3\na\td\tdrop\tunclear\n"
    )
    assert faults == []
    assert rows["a", "b/c"].captions == ("a dog", "it's 2, 3")
    assert rows["a", "b/c"].line == 2
    assert (rows["a", "d"].captions, rows["a", "d"].reason) == ((), "unclear")


def test_esc10_is_keyed_by_class():
    assert caption_key("esc10", "1-100032", "dog bark") == ("esc10", "dog bark")
    assert caption_key("cdda", "fire/ignition", "fire") == ("cdda", "fire/ignition")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\tb\tvoice", "3 columns instead of 4"),
        ("a\t\tvoice\tdog", "stem is empty"),
        ("a\t b\tvoice\tdog", "stem is empty or has spaces"),
        ("a\tb\tdrop\t", "captions is empty"),
        ("a\tb\tspeech\tdog", "unknown kind 'speech'"),
        ("a\tb\tvoice\tdog | ", "captions is empty or has spaces"),
        ("a\tb\tvoice\tdog |  | cat", "caption ''"),
        ("a\tb\tvoice\tA dog", "lower-case"),
        ("a\tb\tvoice\ta dog.", "lower-case"),
        ("a\tb\tvoice\tdog|cat", "lower-case"),
        ("a\tb\tvoice\tdog | dog", "the same caption twice"),
        ("a\tb\tvoice\t" + "x" * 201, "201 characters"),
        ("one\ttwo\tevent\tagain", "already on line 2"),
    ],
)
def test_faults_have_their_line(tmp_path: Path, line: str, message: str):
    path = tmp_path / "captions.tsv"
    path.write_text(f"{HEADER}\none\ttwo\tevent\ta knock\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 3: ") as error:
        read_captions(path)
    assert message in str(error.value)


def test_wrong_header():
    assert parse_captions("stem\tcaptions\n")[1][0][0] == 1
    assert parse_captions("")[1][0][0] == 1
