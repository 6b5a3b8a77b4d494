"""Energy response, linearity and resolution as functions of incident energy, and a fit of the resolution's terms."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.optimize import OptimizeWarning, curve_fit

from fastv.evaluation.observables.observe import Observables
from fastv.evaluation.physics.condition_bins import ConditionBin, not_filled
from fastv.evaluation.statistics.comparison import Comparison, Difference, compare, difference, skipped
from fastv.evaluation.statistics.measured import Measured, mean, of_both, resolution, resolution_68

F64 = NDArray[np.float64]

_LEAST_POINTS = 4
AXIS = "incident energy [MeV]"


def response(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Mean visible fraction <E_tot/E_inc> in bins of incident energy, relative difference.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy, see :func:`fastv.evaluation.physics.condition_bins.energy_bins`.
    """
    definition = "mean of E_tot/E_inc in bins of incident energy"
    pairs = _in_bins(reference, generated, bins)
    found = [_compare(each, mean(a), mean(b), relative=True) for each, a, b in pairs]
    return compare("response", "Energy response", definition, found, relative=True, axis=AXIS, notes=not_filled(bins))


def linearity(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Response of each bin over the mean response of all bins, absolute difference.

    L_b = R_b/R with R = sum_b R_b/B. A common scale error cancels; what remains is a different dependence on energy.
    The error accounts for the contribution of R_b to R: var(L_b) = (s_b^2 (1 - 2 L_b/B) + L_b^2 sum_k s_k^2/B^2)/R^2.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    definition = "response of each bin of incident energy over the mean response of all bins"
    pairs = [(each, mean(a), mean(b)) for each, a, b in _in_bins(reference, generated, bins) if b.mean() > 0]
    if len(pairs) < 2:
        return skipped(
            "linearity", "Linearity", definition, "fewer than two bins of incident energy have enough showers"
        )
    ours, theirs = _over_their_mean([a for _, a, _ in pairs]), _over_their_mean([b for _, _, b in pairs])
    found = [_compare(each, a, b) for (each, _, _), a, b in zip(pairs, ours, theirs, strict=True)]
    return compare("linearity", "Linearity", definition, found, axis=AXIS, notes=not_filled(bins))


def resolution_by_energy(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Resolution as std/mean of E_tot/E_inc in bins of incident energy, relative difference.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    return _widths("std/mean", "standard deviation", resolution, reference, generated, bins)


def central_resolution(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Resolution as half of the central 68.27 % interval of E_tot/E_inc over its mean, relative difference.

    In bins of incident energy; insensitive to tails.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    return _widths("central 68 %", "half of the central 68.27 %", resolution_68, reference, generated, bins)


def _widths(
    kind: str,
    width: str,
    estimate: Callable[[NDArray[np.floating]], Measured],
    reference: Observables,
    generated: Observables,
    bins: Sequence[ConditionBin],
) -> Comparison:
    pairs = [pair for pair in _in_bins(reference, generated, bins) if pair[2].mean() > 0]
    found = [_compare(each, *of_both(estimate, a, b), relative=True) for each, a, b in pairs]
    return compare(
        f"resolution, {kind}",
        f"Energy resolution, {kind}",
        f"{width} over mean of E_tot/E_inc in bins of incident energy",
        found,
        relative=True,
        axis=AXIS,
        notes=not_filled(bins),
    )


class ResolutionFit(BaseModel):
    """Fitted terms of the resolution: stochastic a in sqrt(GeV), noise b in GeV, constant c.

    A term that was not fitted is None. ``covariance`` is that of the fitted terms, in the order a, b, c.
    """

    model_config = ConfigDict(frozen=True)

    stochastic: Measured
    noise: Measured | None
    constant: Measured | None
    chi2: float
    degrees_of_freedom: int
    covariance: tuple[tuple[float, ...], ...]

    def __call__(self, energies: NDArray[np.floating]) -> F64:
        """The fitted resolution sigma/mean at incident energies in MeV."""
        gev = np.asarray(energies, dtype=np.float64) / 1e3
        b, c = (term.value if term else 0.0 for term in (self.noise, self.constant))
        return np.sqrt(self.stochastic.value**2 / gev + b**2 / gev**2 + c**2)


@dataclass(frozen=True)
class ResolutionPoint:
    """Resolution of one bin of incident energy, and the means of 1/E and 1/E^2 (E in GeV) over its showers."""

    resolution: Measured
    inverse: float
    inverse_square: float


def resolution_points(sample: Observables, masks: Sequence[NDArray[np.bool_]]) -> list[ResolutionPoint]:
    """Resolution std/mean of each group of showers, as input of :func:`fit_resolution`.

    Args:
        sample: observables of (N,) showers.
        masks: for each group, the mask (N,) of its showers.
    """
    gev = sample.incident_energies / 1e3
    fractions = sample.visible_fraction
    return [
        ResolutionPoint(resolution(fractions[mask]), float(np.mean(1 / gev[mask])), float(np.mean(1 / gev[mask] ** 2)))
        for mask in masks
    ]


def fit_resolution(points: Sequence[ResolutionPoint], *, noise: bool = True, constant: bool = True) -> ResolutionFit:
    """Least-squares fit of sigma/mean = a/sqrt(E) (+) b/E (+) c, added in quadrature, E in GeV.

    The square of the resolution in a bin is modelled as a^2 <1/E> + b^2 <1/E^2> + c^2 with means over its showers, so
    that wide bins do not bias the terms. Errors of the terms come from the covariance of the fit.

    Args:
        points: at least one more than fitted terms.
        noise: whether the term b is fitted.
        constant: whether the term c is fitted.

    Raises:
        ValueError: there are too few points, a point has no error, or the fit does not converge.

    Source: Particle Data Group, Review of Particle Physics, calorimeters.

    Example:
        >>> gev = np.array([1.0, 4.0, 16.0, 64.0, 256.0])
        >>> exact = np.sqrt(0.15**2 / gev + 0.01**2)
        >>> points = [ResolutionPoint(Measured(value=r, error=0.01 * r), 1 / e, 1 / e**2) for r, e in zip(exact, gev)]
        >>> fit = fit_resolution(points, noise=False)
        >>> round(fit.stochastic.value, 4), round(fit.constant.value, 4), fit.degrees_of_freedom
        (0.15, 0.01, 3)
    """
    on = [True, noise, constant]
    if len(points) <= sum(on):
        msg = f"{len(points)} points are too few to fit {sum(on)} terms"
        raise ValueError(msg)
    values = np.array([point.resolution.value for point in points])
    errors = np.array([point.resolution.error for point in points])
    if not (errors > 0).all():
        msg = "a resolution has no error: all showers of its bin have the same E_tot/E_inc"
        raise ValueError(msg)
    terms = np.array([[point.inverse, point.inverse_square, 1.0] for point in points])[:, on]

    def model(x: NDArray[Any], *parameters: float) -> F64:
        result: F64 = np.sqrt(x @ np.square(parameters))
        return result

    # The model is linear in the squares of the terms; their linear solution, if positive, is the starting point.
    squares = np.linalg.lstsq(terms / (2 * values * errors)[:, None], values**2 / (2 * values * errors), rcond=None)[0]
    smallest = (1e-3 * values.min()) ** 2 / terms.max(axis=0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", OptimizeWarning)
            found, covariance = curve_fit(
                model, terms, values, np.sqrt(np.maximum(squares, smallest)), sigma=errors, absolute_sigma=True
            )
    except (RuntimeError, OptimizeWarning) as error:
        msg = f"the fit of the resolution does not converge: {error}"
        raise ValueError(msg) from error
    measured = iter(
        [Measured(value=abs(v), error=math.sqrt(e)) for v, e in zip(found, np.diag(covariance), strict=True)]
    )
    a, b, c = (next(measured) if used else None for used in on)
    assert a is not None
    return ResolutionFit(
        stochastic=a,
        noise=b,
        constant=c,
        chi2=float((((values - model(terms, *found)) / errors) ** 2).sum()),
        degrees_of_freedom=len(points) - sum(on),
        covariance=tuple(tuple(float(x) for x in row) for row in covariance),
    )


def fit_determined(points: Sequence[ResolutionPoint]) -> ResolutionFit:
    """Fit the terms that the points determine: if a term is smaller than its error, b is dropped, then c.

    Args:
        points: see :func:`fit_resolution`.

    Raises:
        ValueError: not even the stochastic term can be fitted.
    """
    for noise, constant in ((True, True), (False, True), (False, False)):
        try:
            fit = fit_resolution(points, noise=noise, constant=constant)
        except ValueError:
            if not noise and not constant:
                raise
            continue
        if all(term is None or term.value > term.error for term in (fit.noise, fit.constant)):
            return fit
    return fit_resolution(points, noise=False, constant=False)


def resolution_fits(
    reference: Observables, generated: Observables, bins: Sequence[ConditionBin]
) -> tuple[ResolutionFit, ResolutionFit]:
    """Fits of :func:`fit_resolution` to both samples, with the terms that the reference determines.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy, at least four of them filled.

    Raises:
        ValueError: too few bins have enough showers, or a fit is not possible.
    """
    filled = [each for each in bins if each.filled]
    if len(filled) < _LEAST_POINTS:
        msg = f"the fit needs {_LEAST_POINTS} bins of incident energy with enough showers, there are {len(filled)}"
        raise ValueError(msg)
    own = fit_determined(resolution_points(reference, [each.reference for each in filled]))
    other = fit_resolution(
        resolution_points(generated, [each.generated for each in filled]),
        noise=own.noise is not None,
        constant=own.constant is not None,
    )
    return own, other


def resolution_terms(reference: Observables, generated: Observables, bins: Sequence[ConditionBin]) -> Comparison:
    """Stochastic, noise and constant term of the resolution from :func:`resolution_fits`, absolute differences.

    Args:
        reference, generated: observables of (N,) and (M,) showers.
        bins: bins of incident energy.
    """
    name, title = "resolution terms", "Terms of the resolution"
    definition = "fit of sigma/mean = a/sqrt(E) (+) b/E (+) c, E in GeV"
    try:
        fits = resolution_fits(reference, generated, bins)
    except ValueError as error:
        return skipped(name, title, definition, str(error))
    found = []
    for label, field in (("a, stochastic", "stochastic"), ("b, noise", "noise"), ("c, constant", "constant")):
        a, b = (getattr(fit, field) for fit in fits)
        if a is not None and b is not None:
            found.append(difference(label, a, b))
    notes = [
        f"{who}: chi2 {fit.chi2:.1f} for {fit.degrees_of_freedom} degrees of freedom"
        for who, fit in zip(("reference", "generated"), fits, strict=True)
    ]
    off = [label for label, term in (("noise", fits[0].noise), ("constant", fits[0].constant)) if term is None]
    if off:
        notes.append(f"not determined by the reference and not fitted: {' and '.join(off)} term")
    return compare(name, title, definition, found, notes=[*notes, *not_filled(bins)])


def _in_bins(a: Observables, b: Observables, bins: Sequence[ConditionBin]) -> list[tuple[ConditionBin, F64, F64]]:
    """Visible fractions of both samples in each filled bin in which the reference has energy."""
    x, y = a.visible_fraction, b.visible_fraction
    pairs = [(each, x[each.reference], y[each.generated]) for each in bins if each.filled]
    return [pair for pair in pairs if pair[1].mean() > 0]


def _compare(each: ConditionBin, a: Measured, b: Measured, *, relative: bool = False) -> Difference:
    return difference(each.words, a, b, relative=relative, low=each.low, high=each.high)


def _over_their_mean(points: Sequence[Measured]) -> list[Measured]:
    n = len(points)
    whole = sum(point.value for point in points) / n
    variance = sum(point.error**2 for point in points) / n**2
    result = []
    for point in points:
        value = point.value / whole
        own = point.error**2 * (1 - 2 * value / n) + value**2 * variance
        result.append(Measured(value=value, error=math.sqrt(max(0.0, own)) / whole))
    return result
