"""Pages in one file: skeleton, style and small pieces of HTML.

Pages load nothing: pictures and sounds are data URLs, and the page's own policy forbids any other
source. They follow the light or dark setting of the reader and work from the keyboard.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from soundleap.audio.names import slug

POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --ink: #1d1b22; --quiet: #5d5868;
  --line: #d9d5de; --panel: #ffffff; --accent: #5a2a82; --good: #1a6b3c; --warn: #8a4b00;
  --s0: #5a2a82; --s1: #0b6e8a; --s2: #b0480f; --s3: #2f7d32; --s4: #a3195b; --s5: #4a5a9c; }
@media (prefers-color-scheme: dark) { :root { --paper: #16141b; --ink: #ece9f1; --quiet: #aaa4b6;
  --line: #3a3644; --panel: #1f1c26; --accent: #c9a2f2; --good: #7fd6a2; --warn: #f0b866;
  --s0: #c9a2f2; --s1: #6fcbe6; --s2: #f2a071; --s3: #8fd694; --s4: #f58fbd; --s5: #a6b4f2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", "Noto Sans", sans-serif; }
main { max-width: 76rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .5rem; }
p, ul { max-width: 46rem; } p { margin: .5rem 0; }
a { color: var(--accent); } .quiet { color: var(--quiet); } .warn { color: var(--warn); }
code { font: .875em ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { left: 1rem; top: 1rem;
  background: var(--panel); padding: .5rem 1rem; z-index: 1; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
caption { text-align: left; color: var(--quiet); padding: .25rem 0; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--line); text-align: left;
  vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); white-space: nowrap; }
th.n, td.n { text-align: right; white-space: nowrap; }
tbody th { font-weight: 600; min-width: 9rem; }
td.whole { white-space: nowrap; }
td.best { font-weight: 700; color: var(--good); }
.mark { border: 1px solid var(--warn); color: var(--warn); border-radius: 1rem; padding: 0 .5rem;
  font-size: .8em; white-space: nowrap; }
.cards { display: grid; gap: 1rem; padding: 0; list-style: none; max-width: none;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.cards > li { background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
  padding: .75rem; }
.cards h3 { margin: 0 0 .25rem; overflow-wrap: anywhere; } .cards p { margin: .15rem 0;
  font-size: .85rem; overflow-wrap: anywhere; }
figure { margin: .5rem 0 0; } figcaption { font-size: .8rem; color: var(--quiet); }
figure img { display: block; width: 100%; height: auto; border-radius: .25rem; }
audio { display: block; width: 100%; height: 2.25rem; margin-top: .25rem; }
.plots { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
.plots figure { margin: 0; } svg { display: block; width: 100%; height: auto; }
details { margin: .75rem 0; } summary { cursor: pointer; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: .5rem 0; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 40rem) { dl { grid-template-columns: 1fr; } dd { margin: 0 0 .5rem; } }
"""


def escape(value: object) -> str:
    """Make text safe inside elements and quoted attributes."""
    return html.escape(str(value), quote=True)


def page(title: str, body: str, *, style: str = "", script: str = "", policy: str = POLICY) -> str:
    """Put a body into a whole page.

    Args:
        title: of the page, as plain text.
        body: HTML of the main part.
        style: more CSS.
        script: JavaScript, if `policy` allows it.
        policy: what the page may load.
    """
    code = f"<script>\n{script}\n</script>\n" if script else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to the content</a>\n'
        f'<main id="main">\n{body}\n</main>\n{code}</body>\n</html>\n'
    )


def section(title: str, *parts: str) -> str:
    """Make a section with a heading; empty if it has no content."""
    inner = "\n".join(part for part in parts if part)
    if not inner:
        return ""
    name = slug(title)
    heading = f'<h2 id="{name}">{escape(title)}</h2>'
    return f'<section aria-labelledby="{name}">\n{heading}\n{inner}\n</section>'


def paragraph(text: str, kind: str = "") -> str:
    """Make a paragraph of plain text."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def items(texts: Iterable[str], kind: str = "") -> str:
    """Make a list of plain texts; empty for none."""
    rows = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f"<ul{_class(kind)}>{rows}</ul>" if rows else ""


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str | tuple[str, str]]],
    numeric: Sequence[int] = (),
) -> str:
    """Make a table that scrolls sideways if it must; the first cell of a row is its heading.

    Args:
        caption: what the table shows.
        header: column names.
        rows: cells of plain text, or pairs (text, class).
        numeric: columns that are aligned right.
    """
    head = "".join(
        f'<th scope="col"{_numeric(i, numeric)}>{escape(c)}</th>' for i, c in enumerate(header)
    )
    body = "".join(f"<tr>{_cells(row, numeric)}</tr>\n" for row in rows)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody></table></div>"
    )


def definitions(values: Mapping[str, Any]) -> str:
    """Make a list of names with their values; nested ones are written as `a.b`."""
    rows = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in flatten(values)
    )
    return f"<dl>{rows}</dl>" if rows else ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """List the leaves of nested values as (a.b, text)."""
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += flatten(value, f"{prefix}{name}.")  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list | tuple):
            rows.append((prefix + name, ", ".join(map(str, value)) or "none"))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, bool):
            rows.append((prefix + name, "yes" if value else "no"))
        else:
            rows.append((prefix + name, "none" if value is None else _plain(value)))
    return rows


def details(summary: str, inner: str) -> str:
    """Fold something away; empty if there is nothing."""
    return f"<details><summary>{escape(summary)}</summary>{inner}</details>" if inner else ""


def _plain(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _cells(row: Sequence[str | tuple[str, str]], numeric: Sequence[int]) -> str:
    cells: list[str] = []
    for i, cell in enumerate(row):
        text, kind = cell if isinstance(cell, tuple) else (cell, "")
        names = " ".join(filter(None, (kind, "n" if i in numeric else "")))
        tag = 'th scope="row"' if i == 0 else "td"
        cells.append(f"<{tag}{_class(names)}>{escape(text)}</{tag[:2]}>")
    return "".join(cells)


def _numeric(column: int, numeric: Sequence[int]) -> str:
    return ' class="n"' if column in numeric else ""


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
