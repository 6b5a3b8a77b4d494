"""Draw the pictures of the gallery from the shipped sample and the shipped model.

    python docs/gallery.py

Geant4 is the shipped test part, 1400 showers; ``par04-siw`` generates one shower for each, with its incident energy.
Pictures are WebP files in ``docs/images/gallery``, at most 800 pixels wide; only those that the page shows are kept.
The front page's picture, three energies of both, is ``docs/images/showers.webp``.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

import fastv
from fastv.evaluation.report.pictures import shower_gallery

TARGET = Path(__file__).with_name("images") / "gallery"
WIDTH = 800


def main() -> None:
    page = Path(__file__).with_name("gallery.md").read_text(encoding="utf-8")
    test = fastv.sample_path("test")
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.glob("*.webp"):
        old.unlink()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fastv.load("par04-siw").generate_file(folder / "generated.h5", like=test, seed=1)
        fastv.evaluate(test, folder / "generated.h5", folder / "report")
        fastv.view(test, folder / "report" / "plots" / "view.png", event=3)
        fastv.view(test, folder / "report" / "plots" / "view_mean.png", many="all", camera="side")
        figure = shower_gallery(test, folder / "generated.h5", energies=(5e3, 5e4, 5e5), labels=("Geant4", "par04-siw"))
        figure.savefig(folder / "showers.png", dpi=140)
        _save(Image.open(folder / "showers.png"), TARGET.with_name("showers.webp"))
        for path in sorted((folder / "report" / "plots").glob("*.png")):
            if f"{path.stem}.webp" not in page:
                continue
            picture = Image.open(path)
            height = round(picture.height * WIDTH / picture.width)
            small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS) if picture.width > WIDTH else picture
            _save(small, TARGET / f"{path.stem}.webp")


def _save(picture: Image.Image, path: Path) -> None:
    picture.convert("RGB").save(path, quality=82, method=6)


if __name__ == "__main__":
    main()
