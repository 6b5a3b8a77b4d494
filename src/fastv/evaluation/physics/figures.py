"""All physics figures of a generated sample against full simulation, and which of them stand out.

:func:`physics_figures` knows nothing of who made the samples: called with two samples of full simulation it gives the
floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from pydantic import BaseModel, ConfigDict

from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics import conditional, correlations, profiles, response, tails
from fastv.evaluation.physics.condition_bins import angle_bins, energy_bins
from fastv.evaluation.physics.two_showers import two_showers
from fastv.evaluation.statistics.figure import SURE, Figure
from fastv.evaluation.threads import each_in_threads


class Physics(BaseModel):
    """Every physics figure of two samples, in the order of a report."""

    model_config = ConfigDict(frozen=True)

    showers_reference: int
    showers_generated: int
    figures: tuple[Figure, ...]

    def figure(self, name: str) -> Figure:
        """One figure by its name."""
        return next(each for each in self.figures if each.name == name)

    @property
    def standing_out(self) -> tuple[Figure, ...]:
        """Figures that chance does not explain, the surest first.

        With two samples of one distribution any figure stands out with a probability of at most 0.1 %: the p-value of
        each, times the number of figures, is below that.
        """
        made = [each for each in self.figures if each.p_value is not None]
        found = [each for each in made if each.p_value is not None and each.p_value * len(made) < SURE]
        return tuple(sorted(found, key=lambda each: -abs(each.worst.pull) if each.worst else 0.0))

    @property
    def agrees(self) -> bool:
        """Whether no figure stands out."""
        return not self.standing_out


def physics_figures(
    reference: Observables, generated: Observables, *, most_energy_bins: int = 10, seed: int = 0, label: str = "physics"
) -> Physics:
    """All physics figures of ``generated`` against ``reference``.

    Each is a function of its own in the modules of this package, and gives one
    :class:`fastv.evaluation.statistics.figure.Figure`; one that cannot be made says why.

    Args:
        reference, generated: observables of (N,) and (M,) showers; the generated ones made with ``like=reference``.
        most_energy_bins: logarithmic bins of incident energy; neighbours are joined until each has 100 showers.
        seed: of the choice of showers that are laid over each other.
        label: what the progress bar on standard error says.

    Example:
        >>> from fastv.evaluation.observables.observe import observe
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     sample = observe(file[:300])
        >>> physics_figures(sample, sample).agrees
        True
    """
    makers = list(_makers(reference, generated, most_energy_bins, seed))
    figures: list[Figure] = []
    each_in_threads(lambda make: make(), makers, figures.append, total=len(makers), label=label)
    return Physics(showers_reference=len(reference), showers_generated=len(generated), figures=tuple(figures))


def _makers(a: Observables, b: Observables, most: int, seed: int) -> Iterator[Callable[[], Figure]]:
    energies = energy_bins(a, b, most)
    conditions = [*energies, *angle_bins(a, b)]
    yield lambda: conditional.population(a, b, conditions)
    yield lambda: response.response(a, b, energies)
    yield lambda: response.linearity(a, b, energies)
    yield lambda: response.resolutions(a, b, energies)
    yield lambda: response.resolution_terms(a, b, energies)
    yield lambda: profiles.layer_profile(a, b, energies)
    yield lambda: profiles.layer_steps(a, b, energies)
    yield lambda: profiles.ring_profile(a, b, energies)
    yield lambda: profiles.occupancy(a, b, energies)
    yield lambda: profiles.shower_moments(a, b, energies)
    for name in ("shower start", "shower maximum", "hits"):
        yield partial(profiles.quantity_by_energy, name, a, b, energies)
    yield lambda: profiles.fluctuations(a, b)
    yield lambda: correlations.layer_correlations(a, b)
    yield lambda: correlations.fraction_correlations(a, b)
    yield lambda: correlations.coarse_correlations(a, b)
    yield lambda: correlations.voxel_correlations(a, b)
    yield lambda: tails.distributions(a, b)
    yield lambda: tails.response_quantiles(a, b)
    for name in ("E_tot/E_inc", "longitudinal mean", "lateral mean", "hits"):
        yield partial(tails.quantity_tails, name, a, b)
    yield lambda: tails.voxel_quantiles(a, b)
    yield lambda: conditional.conditional(a, b, conditions)
    yield lambda: two_showers(a, b, seed)
