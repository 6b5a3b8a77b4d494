"""Words that nothing is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastv.detector.detector import Detector
from fastv.display import view
from fastv.errors import FastVError
from fastv.formats import named
from fastv.model import load
from fastv.models import family_class
from fastv.sample import sample_path
from fastv.simulation.data_sets import DataSets
from fastv.summary import summarise
from fastv.training.recipe import load_recipe


@pytest.mark.parametrize(
    ("call", "end"),
    [
        (lambda: load_recipe("fastvv"), "did you mean fastv?"),
        (lambda: load_recipe("Flow_Matching"), "did you mean flow-matching?"),
        (lambda: load_recipe("vae", {"training.epoch": 3}), "did you mean training.epochs?"),
        (lambda: load_recipe("vae", {"epoch": 3}), "did you mean training.epochs?"),
        (
            lambda: load_recipe("flow-matching", {"model.network": {"kind": "mlp", "hiden": 8}}),
            "did you mean model.network.hidden?",
        ),
        (lambda: family_class("gam"), "did you mean gan?"),
        (lambda: load("par04-siww"), "did you mean par04-siw?"),
        (lambda: Detector.preset("par04-swi"), "did you mean par04-siw?"),
        (lambda: named("calochalenge"), "did you mean calochallenge?"),
        (lambda: DataSets("11.4.0").lacking("standart"), "did you mean standard?"),
        (lambda: DataSets("11.4.0").lacking("standard", "FTFP_BRT"), "did you mean FTFP_BERT?"),
        (lambda: DataSets("11.4.0").lacking("FTFP_BERT"), "; FTFP_BERT is a hadronic model: write standard+FTFP_BERT"),
        (lambda: summarise("fastw"), "did you mean fastv?"),
        (lambda: summarise("par04siw"), "did you mean par04-siw?"),
        (lambda: load("par04-siw").with_options(step=3), "it has none"),
        (lambda: load("par04-siw").generate(n=1, enrgy=5e4), "did you mean energy?"),
        (lambda: view(sample_path("test"), "v.html", camera="sid"), "did you mean side?"),
    ],
)
def test_the_nearest_known_word_is_named(call: Callable[[], object], end: str) -> None:
    with pytest.raises(FastVError) as refused:
        call()
    assert str(refused.value).endswith(end)
