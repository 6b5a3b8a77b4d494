"""Quality of models on the test sample, with the floor of Geant4 against Geant4; prints JSON.

    python benchmarks/quality.py par04-siw path/to/other/model [--repeat 10] [--test FILE] [--floor FILE]

Each model generates ``--repeat`` showers for each incident energy of the test sample, so that the statistical error is
mostly that of the test sample.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from fastv.evaluation import evaluate
from fastv.model import load
from fastv.sample import sample_path
from fastv.showers import ShowersFile


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--test", type=Path, default=sample_path("test"))
    parser.add_argument("--floor", type=Path)
    parser.add_argument("--full", action="store_true", help="print all results, not only verdict and warnings")
    options = parser.parse_args()
    with ShowersFile(options.test, "par04-siw") as file:
        n = len(file) * options.repeat
    results = {}
    for name in options.models:
        model = load(name)
        with tempfile.TemporaryDirectory() as folder:
            generated = Path(folder) / "generated.h5"
            model.generate_file(generated, like=options.test, n=n, seed=options.seed)
            found = evaluate(options.test, generated, floor=options.floor, mesh="par04-siw", quick=True).as_dict()
        results[name] = found if options.full else {key: found[key] for key in ("verdict", "warnings")}
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
