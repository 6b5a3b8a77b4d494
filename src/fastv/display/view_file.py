"""View of a showers file in 3D, as an HTML page or as a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastv.detector.detector import Detector
from fastv.display.camera import CAMERAS
from fastv.display.figure import FORMATS, save
from fastv.display.page import page
from fastv.display.picture import picture
from fastv.display.scene import file_panel, mean_panel
from fastv.display.tracks import load_tracks, with_tracks
from fastv.errors import SettingsError, printable
from fastv.showers import ShowersFile
from fastv.storage.output import check_free, written_whole
from fastv.suggestions import unknown

MOST_EVENTS = 20
"""Maximum number of showers in a page, and the default number."""

_DOTS_PER_INCH = 160


@dataclass(frozen=True)
class View:
    """Record of a view that was written.

    Attributes:
        output: the file.
        events: numbers of the showers that are shown, or of which the mean is shown.
        mean: whether it shows their mean.
    """

    output: Path
    events: tuple[int, ...]
    mean: bool


def view(
    source: str | Path,
    output: str | Path | None = None,
    *,
    event: int | str | Sequence[int] | None = None,
    many: int | str | None = None,
    mesh: str | Detector | None = None,
    tracks: str | Path | None = None,
    camera: str = "3D",
    force: bool = False,
) -> View:
    """Show showers of a file in 3D, as an HTML page that needs no network or as a picture.

    Args:
        source: the showers file.
        output: ``FILE.html``, or a picture ``FILE.png``, ``FILE.pdf`` or ``FILE.svg``; by default ``SOURCE-view.html``
            in the current folder.
        event: number of a shower from 0, several numbers, or a text such as ``"3"``, ``"0,5,9"`` or ``"0-19"``; by
            default the first 20 showers for a page and the first for a picture.
        many: show the mean energy per voxel of the first ``many`` showers, or of ``"all"``, instead of single ones.
        mesh: detector or its name, for a plain CaloChallenge file.
        tracks: file with the tracks of the shower that is shown (see :mod:`fastv.simulation.tracks`).
        camera: initial view: ``3D``, ``side`` or ``front``.
        force: replace an existing file.

    Raises:
        SettingsError: there is no such shower, the output has another ending, or arguments contradict each other.
        OutputError: the output exists, or cannot be written.
        FileFormatError, GeometryError: the file is damaged, its mesh is unknown, or the tracks do not fit it.

    Example:
        >>> import tempfile
        >>> from fastv.sample import sample_path
        >>> view(sample_path("test"), Path(tempfile.mkdtemp()) / "shower.html", event=3).events
        (3,)
    """
    source = Path(source)
    output = Path(f"{source.stem}-view.html") if output is None else Path(output)
    kind = output.suffix[1:].lower()
    as_picture = kind in FORMATS
    if not as_picture and kind not in ("html", "htm"):
        msg = f"{output}: a view is written to FILE.html, or as a picture to FILE.{', FILE.'.join(FORMATS)}"
        raise SettingsError(msg)
    if camera not in CAMERAS:
        raise SettingsError(unknown("camera", camera, CAMERAS))
    if many is not None and (event is not None or tracks is not None):
        msg = "`many` shows the mean of showers; leave out `event` and `tracks`"
        raise SettingsError(msg)
    output = check_free(output, force=force, kind="view")
    with ShowersFile(source, mesh, parameter="mesh") as file:
        if not len(file):
            msg = f"{source}: the file has no showers"
            raise SettingsError(msg)
        if many is not None:
            count = _count(many, len(file))
            rows = list(range(count))
            panel = mean_panel(file, count, progress=True)
        elif tracks is not None:
            paths, number = load_tracks(tracks, file)
            rows = [_row_of_tracks(event, number, len(file), tracks)]
            panel = with_tracks(file_panel(file, rows), paths)
        else:
            rows = _rows(event, 1 if as_picture else min(MOST_EVENTS, len(file)))
            panel = file_panel(file, rows)
    if as_picture and len(panel.events) > 1:
        msg = f"{output}: a picture shows one shower, {len(rows)} were selected; write a page (FILE.html) or select one"
        raise SettingsError(msg)
    with written_whole(output, force=force, kind="view") as temporary:
        if as_picture:
            save(picture(panel, camera=camera), temporary, picture_format=kind, dpi=_DOTS_PER_INCH)
        else:
            title = f"{printable(source.name)}: {'mean of showers' if many is not None else 'showers'} in 3D"
            temporary.write_text(page(panel, title=title, camera=camera), encoding="utf-8")
    return View(output, tuple(rows), many is not None)


def _count(many: int | str, length: int) -> int:
    if many == "all":
        return length
    try:
        return int(many)
    except ValueError:
        msg = f"`many` takes a number of showers or 'all', got {many!r}"
        raise SettingsError(msg) from None


def _rows(event: int | str | Sequence[int] | None, default: int) -> list[int]:
    """Numbers of the selected showers, in the given order without repetitions."""
    if event is None:
        return list(range(default))
    rows: list[int] = []
    if isinstance(event, str):
        for part in event.split(","):
            match = re.fullmatch(r"\s*(\d{1,12})(?:-(\d{1,12}))?\s*", part, re.ASCII)
            first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
            if first > last:
                msg = f"`event` {event!r} is not understood; write it as 3, 0,5,9 or 0-19"
                raise SettingsError(msg)
            rows += range(first, min(last, first + MOST_EVENTS) + 1)
    else:
        rows = [event] if isinstance(event, int) else [int(row) for row in event]
    rows = list(dict.fromkeys(rows))
    if not 1 <= len(rows) <= MOST_EVENTS:
        msg = f"a page shows 1 to {MOST_EVENTS} showers, `event` {event} asks for {'none' if not rows else 'more'}"
        raise SettingsError(msg)
    return rows


def _row_of_tracks(event: int | str | Sequence[int] | None, number: int, length: int, tracks: str | Path) -> int:
    """The shower that the tracks belong to: event ``number`` of a production, or the only shower of a file."""
    row = 0 if length == 1 else number
    if event is not None and _rows(event, 1) != [row]:
        msg = (
            f"{tracks}: the tracks are of event {number}, shower {row} of the file; leave out `event`, it says {event}"
        )
        raise SettingsError(msg)
    return row
