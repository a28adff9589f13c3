from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import soundleap

PAGE = Path(soundleap.__file__).parent / "server" / "page"
FILES = sorted(PAGE.iterdir())
SCRIPTS = {path.name: path.read_text() for path in FILES if path.suffix == ".js"}
VOID = {"meta", "link", "input", "br"}
NAMED_BY_CODE = r"(?:byId|pressed|showFault|setFault)\(\s*\"([a-z_-]+)\"|click\(\"([a-z-]+)\""


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed((PAGE / "index.html").read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def values(self, attribute: str) -> list[str]:
        return [value for _, attrs in self.elements if (value := attrs.get(attribute))]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page()


def test_the_page_is_well_formed_and_its_ids_differ(page: Page):
    assert page.open == []
    assert page.elements[0] == ("html", {"lang": "en"})
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_what_labels_and_scripts_name_is_on_the_page(page: Page):
    ids = set(page.values("id"))
    for attribute in ("for", "aria-describedby", "aria-labelledby"):
        for value in page.values(attribute):
            assert set(value.split()) <= ids
    named = {
        one or two
        for text in SCRIPTS.values()
        for one, two in re.findall(NAMED_BY_CODE, text)
    }  # fmt: skip
    assert len(named) > 30
    assert named <= ids | {"form"}


def test_every_field_has_a_label_and_a_place_for_its_fault(page: Page):
    ids = set(page.values("id"))
    labelled = set(page.values("for"))
    for tag, attrs in page.elements:
        if tag in ("input", "select", "textarea") and attrs.get("type") != "checkbox":
            assert attrs["id"] in labelled or "aria-label" in attrs
            if "name" in attrs:
                assert f"{attrs['name']}-fault" in ids
                assert f"{attrs['name']}-fault" in str(attrs["aria-describedby"])
    assert {"status", "alert"} <= set(page.values("role"))


def test_nothing_is_inline_and_nothing_comes_from_elsewhere(page: Page):
    for tag, attrs in page.elements:
        assert not [name for name in attrs if name == "style" or name.startswith("on")]
        assert tag != "style"
        for name in ("src", "href"):
            if value := attrs.get(name):
                assert value.startswith(("/page/", "#"))
                assert value.startswith("#") or (PAGE / value.removeprefix("/page/")).is_file()
    for path in FILES:
        text = path.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?://|@import|url\(", text), path.name


def test_scripts_import_files_that_are_there_and_names_that_are_exported():
    for text in SCRIPTS.values():
        for names, file in re.findall(r"import (.+?) from \"\./([a-z]+\.js)\"", text):
            for name in re.findall(r"\w+", names) if names.startswith("{") else []:
                exported = rf"export (?:async )?(?:function\*?|const|let|class) {name}\b"
                assert re.search(exported, SCRIPTS[file]), (file, name)


def test_texts_of_users_never_become_markup():
    for name, text in SCRIPTS.items():
        found = re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)
        assert not found, name


def test_files_are_small():
    for path in FILES:
        assert len(path.read_text().splitlines()) <= 300, path.name


def test_there_are_a_dozen_examples_and_four_presets():
    assert SCRIPTS["examples.js"].count("prompt:") == 12
    assert SCRIPTS["examples.js"].count("says:") == 4
