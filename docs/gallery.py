"""Draw the pictures of the gallery from the shipped sample and the shipped model.

    python docs/gallery.py

Geant4 is the shipped test part, 1400 showers; ``par04-siw`` generates one shower for each, with its incident energy.
Pictures are WebP files in ``docs/images/gallery``, at most 800 pixels wide.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

import fastv

TARGET = Path(__file__).with_name("images") / "gallery"
WIDTH = 800


def main() -> None:
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
        for path in sorted((folder / "report" / "plots").glob("*.png")):
            picture = Image.open(path).convert("RGB")
            height = round(picture.height * WIDTH / picture.width)
            small = picture.resize((WIDTH, height), Image.Resampling.LANCZOS) if picture.width > WIDTH else picture
            small.save(TARGET / f"{path.stem}.webp", quality=82, method=6)


if __name__ == "__main__":
    main()
