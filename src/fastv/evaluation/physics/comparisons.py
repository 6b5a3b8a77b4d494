"""All physics comparisons of two samples, each made once and used by targets, tables, plots, ranking and JSON.

:func:`compare_physics` does not depend on the origin of the samples; for two samples of full simulation it gives the
floor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.observables.histograms import Binning, binning
from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics import conditional, correlations, profiles, response, tails
from fastv.evaluation.physics.condition_bins import angle_bins, energy_bins
from fastv.evaluation.physics.separations import Separation, separations
from fastv.evaluation.physics.two_showers import two_showers
from fastv.evaluation.statistics.comparison import SURE, Comparison, Status
from fastv.evaluation.threads import each_in_threads


class Physics(BaseModel):
    """The physics of two samples compared.

    ``comparisons`` are by name, in the order of the report, ``separations`` by observable.
    """

    model_config = ConfigDict(frozen=True)

    showers_reference: int
    showers_generated: int
    comparisons: dict[str, Comparison]
    separations: dict[str, Separation]

    def __getitem__(self, name: str) -> Comparison:
        return self.comparisons[name]

    @property
    def made(self) -> tuple[Comparison, ...]:
        """The comparisons that could be made."""
        return tuple(each for each in self.comparisons.values() if each.p_value is not None)

    @property
    def standing_out(self) -> tuple[Comparison, ...]:
        """Comparisons whose differences chance does not explain, those with the largest pulls first.

        These are the comparisons whose p-value times the number of comparisons is below 0.1 %. For two samples of one
        distribution, the probability that any comparison stands out is at most 0.1 %.
        """
        made = self.made
        found = [each for each in made if each.p_value is not None and each.p_value * len(made) < SURE]
        return tuple(sorted(found, key=lambda each: -abs(each.worst.pull) if each.worst else 0.0))

    @property
    def agrees(self) -> bool:
        """Whether no comparison stands out."""
        return not self.standing_out

    def status(self, name: str) -> Status:
        """Status of one comparison. One that stands out is undecided: whether its size matters is not known here."""
        if self[name].p_value is None:
            return "not judged"
        return "undecided" if any(each.name == name for each in self.standing_out) else "agrees"


def compare_physics(
    reference: Observables,
    generated: Observables,
    *,
    edges: Binning | None = None,
    only: Collection[str] | None = None,
    most_energy_bins: int | None = None,
    seed: int = 0,
    label: str = "physics",
) -> Physics:
    """Compare the physics of ``generated`` with that of ``reference``.

    Each comparison is a function in a module of this package and returns a
    :class:`fastv.evaluation.statistics.comparison.Comparison`; one that cannot be made contains the reason.

    Args:
        reference, generated: observables of (N,) and (M,) showers, the latter from ``observe(..., like=reference)``.
        edges: binning of the separation powers; by default that of the reference.
        only: names of the comparisons to make; by default all.
        most_energy_bins: largest number of bins of incident energy, see
            :func:`fastv.evaluation.physics.condition_bins.energy_bins`.
        seed: seed for choosing the showers that are overlaid.
        label: label of the progress bar on standard error.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:300])
        >>> compare_physics(sample, sample, only=["response", "sparsity"]).agrees
        True
    """
    makers = _makers(reference, generated, most_energy_bins, seed)
    wanted = [make for name, make in makers.items() if only is None or name in only]
    found: list[Comparison] = []
    each_in_threads(lambda make: make(), wanted, found.append, total=len(wanted), label=label)
    powers = separations(reference, generated, edges or binning(reference))
    return Physics(
        showers_reference=len(reference),
        showers_generated=len(generated),
        comparisons={each.name: each for each in found},
        separations={each.observable: each for each in powers},
    )


def _makers(a: Observables, b: Observables, most: int | None, seed: int) -> dict[str, Callable[[], Comparison]]:
    energies = energy_bins(a, b, most)
    conditions = [*energies, *angle_bins(a, b)]
    return {
        "population": lambda: conditional.population(a, b, conditions),
        "response": lambda: response.response(a, b, energies),
        "linearity": lambda: response.linearity(a, b, energies),
        "resolution, std/mean": lambda: response.resolution_by_energy(a, b, energies),
        "resolution, central 68 %": lambda: response.central_resolution(a, b, energies),
        "resolution terms": lambda: response.resolution_terms(a, b, energies),
        "layer energies": lambda: profiles.layer_profile(a, b, energies),
        "layer steps": lambda: profiles.layer_steps(a, b, energies),
        "ring energies": lambda: profiles.ring_profile(a, b, energies),
        "sparsity": lambda: profiles.sparsity(a, b, energies),
        "alpha profile": lambda: profiles.alpha_profile(a, b, energies),
        "shower moments": lambda: profiles.shower_moments(a, b, energies),
        **{
            name: partial(profiles.quantity_by_energy, name, a, b, energies)
            for name in ("shower start", "shower maximum", "hits")
        },
        "fluctuations": lambda: profiles.fluctuations(a, b),
        "layer correlations": lambda: correlations.layer_correlations(a, b),
        "layer fraction correlations": lambda: correlations.fraction_correlations(a, b),
        "coarse cell correlations": lambda: correlations.coarse_correlations(a, b),
        "voxel correlations": lambda: correlations.voxel_correlations(a, b),
        "distributions": lambda: tails.distributions(a, b),
        "visible fraction quantiles": lambda: tails.response_quantiles(a, b),
        **{
            f"tails of {name}": partial(tails.quantity_tails, name, a, b)
            for name in ("E_tot/E_inc", "longitudinal mean", "lateral mean", "hits")
        },
        "voxel quantiles": lambda: tails.voxel_quantiles(a, b),
        "conditional": lambda: conditional.conditional(a, b, conditions),
        "two showers": lambda: two_showers(a, b, seed),
    }
