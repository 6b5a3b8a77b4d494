"""Showers in 3D, as an interactive HTML page that needs no network or as a picture."""

from fastv.display.page import fragment, page, shared_assets
from fastv.display.picture import picture
from fastv.display.scene import Event, Panel, file_panel, load_panel, mean_panel, shower_panel
from fastv.display.view_file import View, view

__all__ = [
    "Event",
    "Panel",
    "View",
    "file_panel",
    "fragment",
    "load_panel",
    "mean_panel",
    "page",
    "picture",
    "shared_assets",
    "shower_panel",
    "view",
]
