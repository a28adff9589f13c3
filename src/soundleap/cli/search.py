"""`soundleap search`: find sounds in a folder by words or by another sound."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def search(
    folder: Annotated[Path, typer.Argument(help="Folder with sound files.")],
    query: Annotated[str | None, typer.Argument(help="What is to be heard.")] = None,
    like: Annotated[
        Path | None, typer.Option(help="A sound file to compare with; with a query both count.")
    ] = None,
    top: Annotated[int, typer.Option(help="Most sounds to name.")] = 10,
    index: Annotated[
        Path | None, typer.Option(help="File that keeps the vectors.  [default: in the folder]")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Find the sounds that fit a text, or are like a sound.

    Every file is heard once; an index in the folder keeps what was heard.
    """
    import json

    from soundleap.search import search as find

    found = find(folder, query, like=like, top=top, index=index, progress=not quiet)
    for fault in found.unreadable:
        typer.echo(f"soundleap: left out: {fault}", err=True)
    if as_json:
        hits = [{"file": str(hit.file), "score": round(hit.score, 4)} for hit in found.hits]
        values = {
            "sounds": found.sounds, "heard": found.heard, "hits": hits,
            "unreadable": list(found.unreadable),
        }  # fmt: skip
        typer.echo(json.dumps(values, ensure_ascii=False, indent=1))
        return
    for hit in found.hits:
        typer.echo(f"{hit.score:6.3f}  {hit.file}")
