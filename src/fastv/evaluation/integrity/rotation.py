"""Is the mean energy uniform around the shower axis, as it must be at normal incidence? At an angle: as the reference?

The energies e_j in the A alpha cells of a layer have the harmonics c_k = sum_j e_j exp(-2 pi i k j/A), k = 1 ... A/2;
k = 1 is a shift of the centre and k = 2 an elliptic deformation. They are large in a single shower, but for a
rotation-invariant distribution their phases are random and their mean vanishes. Errors come from the variance between
showers, since the energy of a shower is deposited in few clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2, norm

from fastv.detector.detector import Detector
from fastv.errors import SettingsError
from fastv.evaluation.integrity.findings import SURE, Finding, skipped
from fastv.evaluation.observables.streaming import Reading, Source, UncheckedBatch
from fastv.evaluation.statistics.comparison import Status

F64 = NDArray[np.float64]
C64 = NDArray[np.complex64]
C128 = NDArray[np.complex128]
Angles = Literal["normal", "alike", "different"]
"""At which angles two samples enter: all at normal incidence, or others, alike or different in both samples."""

MIN_SHOWERS = 100
MEMORY = 2**28
"""Largest size in bytes of the harmonics of one sample; of larger samples evenly spread showers are used."""
_TURNS = 1199
_PER_BIN = 100
_LIKELY = 0.01
_OCCUPIED = 0.1
"""Fraction of the showers of the reference with energy in a layer that the comparison at an angle needs."""


@dataclass(frozen=True)
class AlphaHarmonics:
    """Harmonics over alpha of N showers in L layers, divided by the incident energy.

    Attributes:
        layers: indices of the L layers with more than one alpha cell.
        cells: greatest common divisor of their numbers of alpha cells, the number of rotations that map the mesh onto
            itself.
        log_energies: ln of the incident energies in MeV (N,).
        harmonics: c_k over incident energy (N, L + 1, K), K = cells // 2; the last row is the sum over layers.
        energies: layer energies over incident energy (N, L + 1); the last column is their sum.
    """

    layers: tuple[int, ...]
    cells: int
    log_energies: F64
    harmonics: C64
    energies: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.log_energies)


_Columns = tuple[F64, C64, NDArray[np.float32]]


class HarmonicsCollector:
    """Collects the :class:`AlphaHarmonics` of the undamaged showers of a sample.

    Args:
        detector: its readout threshold is applied first.
        total: number of showers in the sample; if their harmonics exceed 256 MiB, every n-th shower is used.
    """

    def __init__(self, detector: Detector, total: int) -> None:
        mesh, threshold = detector.mesh, detector.threshold
        counts = [layer.alpha_cells for layer in mesh.layers]
        self.layers = tuple(i for i, cells in enumerate(counts) if cells > 1)
        self.cells = gcd(*(counts[i] for i in self.layers)) if self.layers else 1
        self._mesh = mesh
        self._threshold = threshold * (1 - 1e-6)
        per_shower = 8 * (len(self.layers) + 1) * max(1, self.cells // 2)
        self._step = max(1, -(-total * per_shower // MEMORY))
        self._parts: list[_Columns] = []

    def look(self, batch: UncheckedBatch) -> _Columns | None:
        """The harmonics of one batch."""
        if self.cells < 2:
            return None
        skip = -batch.rows.start % self._step
        picked = np.arange(skip, len(batch), self._step)
        picked = picked[batch.good[picked]]
        whole = len(picked) == len(batch)
        energies = batch.stored.energies if whole else batch.stored.energies[picked]
        incident = batch.stored.incident_energies[picked]
        energies = np.where(energies >= self._threshold, energies, 0)
        harmonics = np.zeros((len(energies), len(self.layers) + 1, self.cells // 2), dtype=np.complex64)
        sums = np.zeros((len(energies), len(self.layers) + 1), dtype=np.float32)
        scale = (1 / incident)[:, None, None]
        layer = done = 0
        for block in self._mesh.blocks:
            voxels = slice(self._mesh.layer_slice(layer).start, self._mesh.layer_slice(layer + block.layers - 1).stop)
            layer += block.layers
            if block.alpha_cells == 1:
                continue
            # For short rows, a matrix product with ones is faster than a sum.
            summed = energies[:, voxels].reshape(-1, block.r_cells) @ np.ones(block.r_cells, dtype=np.float32)
            slices = summed.reshape(len(energies), block.layers, block.alpha_cells) * scale
            here = slice(done, done + block.layers)
            done = here.stop
            harmonics[:, here] = np.fft.rfft(slices, axis=2)[:, :, 1 : self.cells // 2 + 1]
            sums[:, here] = slices.sum(axis=2)
        harmonics[:, -1] = harmonics[:, :-1].sum(axis=1)
        sums[:, -1] = sums[:, :-1].sum(axis=1)
        return np.log(incident), harmonics, sums

    def keep(self, part: _Columns | None) -> None:
        """Add the harmonics of one batch."""
        if part is not None:
            self._parts.append(part)

    def result(self) -> AlphaHarmonics:
        """The harmonics of all batches so far."""
        if not self._parts:
            empty = np.zeros((0, len(self.layers) + 1, self.cells // 2), dtype=np.complex64)
            return AlphaHarmonics(self.layers, self.cells, np.empty(0), empty, np.empty(empty.shape[:2], np.float32))
        log_energies, harmonics, sums = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        return AlphaHarmonics(self.layers, self.cells, log_energies, harmonics, sums)


def alpha_harmonics(source: Source, *, label: str = "alpha harmonics") -> AlphaHarmonics:
    """Harmonics over alpha of all layers of a sample.

    Args:
        source: an open file or showers in memory; damaged showers are left out.
        label: what the progress bar on standard error says.

    Example:
        >>> from fastv.sample import sample_path
        >>> from fastv.showers import ShowersFile
        >>> with ShowersFile(sample_path("test")) as file:
        ...     alpha_harmonics(file[:20]).harmonics.shape
        (20, 46, 8)
    """
    collector = HarmonicsCollector(source.detector, len(source))
    Reading(source, label=label).feed(collector, damaged="pass on")
    return collector.result()


@dataclass(frozen=True)
class Modulation:
    """Relative modulation of the mean energy over alpha, in L layers and, as the last row, in their sum.

    Attributes:
        amplitudes: a_k (L + 1, K); the mean energy in cell j is proportional to
            1 + 2 sum_k Re(a_k exp(2 pi i k j/A)), with half of the term k = A/2.
        errors: standard deviation of the real and of the imaginary part (L + 1, K).
        chi2: sum_k |a_k/error_k|^2 (L + 1,).
        degrees: degrees of freedom of chi2, A - 1.
        p_values: p-values of chi2 (L + 1,), from the chi-square distribution.
        p_value: probability that the largest chi2 is at least as large by chance, from random rotations of all showers.
    """

    amplitudes: C128
    errors: F64
    chi2: F64
    degrees: int
    p_values: F64
    p_value: float

    def slices(self, cells: int) -> tuple[F64, F64]:
        """Relative deviation of each of ``cells`` alpha slices from the mean, and its error, (L + 1, cells) each."""
        j, k = np.arange(cells), np.arange(1, self.amplitudes.shape[1] + 1)
        waves = np.exp(2j * np.pi * np.outer(k, j) / cells)
        weight = np.where(2 * k == cells, 1.0, 2.0)
        values = (self.amplitudes * weight) @ waves
        # Real and imaginary parts are independent; the alternating harmonic k = A/2 is real.
        variances = (self.errors * weight) ** 2 @ np.ones_like(waves, dtype=np.float64)
        return values.real, np.sqrt(variances)


def modulation(sample: AlphaHarmonics, *, turns: int = _TURNS, seed: int = 0) -> Modulation:
    """Mean modulation over alpha, with the probability that chance explains it.

    With m and v the mean layer energy and mean |c_k|^2 at the shower's incident energy, the least-squares estimate is
    a_k = sum_i (m_i/v_i) c_ki / sum_i m_i^2/v_i. Its real and imaginary parts have the variance 1/(2 sum_i m_i^2/v_i),
    twice that for the real alternating harmonic k = A/2. For the p-value, every shower is rotated by a random number of
    cells, ``turns`` times: this gives rotation-invariant samples with the same correlations between layers and the same
    tails.

    Args:
        sample: harmonics of N showers.
        turns: number of random rotations of the whole sample; the p-value is at least 1/(turns + 1).
        seed: seed of the rotations.

    Raises:
        SettingsError: the sample has no showers or no alpha cells.
    """
    n, rows, k_max = sample.harmonics.shape
    if not n or not k_max:
        msg = "the modulation over alpha needs at least one shower, and a mesh with alpha cells"
        raise SettingsError(msg)
    weighted, weight = _weighted(sample)
    k = np.arange(1, k_max + 1)
    real = 2 * k == sample.cells
    variance = np.where(real, 1.0, 0.5) / np.maximum(weight, 1e-300)[:, None]
    amplitudes = weighted.sum(axis=0, dtype=np.complex128) / np.maximum(weight, 1e-300)[:, None]
    statistic = _statistic(amplitudes, variance)
    degrees = sample.cells - 1
    p_values = np.asarray(chi2.sf(statistic, degrees), dtype=np.float64)
    rng = np.random.default_rng(seed)
    exceeded = 0
    block = max(1, min(turns, 2**23 // n))
    for start in range(0, turns, block):
        count = min(block, turns - start)
        angle = rng.integers(sample.cells, size=(count, n))
        turned = np.empty((count, rows, k_max), dtype=np.complex64)
        for i in range(k_max):
            phases = np.exp(-2j * np.pi * (i + 1) * np.arange(sample.cells) / sample.cells).astype(np.complex64)
            turned[:, :, i] = phases[angle] @ weighted[:, :, i]
        largest = _statistic(turned / np.maximum(weight, 1e-300)[:, None], variance).max(axis=1)
        exceeded += int((largest >= statistic.max() * (1 - 1e-5)).sum())
    return Modulation(
        amplitudes=amplitudes,
        errors=np.sqrt(variance),
        chi2=statistic,
        degrees=degrees,
        p_values=p_values,
        p_value=(1 + exceeded) / (1 + turns),
    )


def _weighted(sample: AlphaHarmonics) -> tuple[C64, F64]:
    """(m/v) c of each shower (N, L + 1, K), and sum m^2/v (L + 1,), with m and v from bins of incident energy."""
    n, rows, _ = sample.harmonics.shape
    weighted = np.zeros_like(sample.harmonics)
    weight = np.zeros(rows)
    order = np.argsort(sample.log_energies, kind="stable")
    for part in np.array_split(order, max(1, min(20, n // _PER_BIN))):
        c = sample.harmonics[part]
        m = sample.energies[part].mean(axis=0, dtype=np.float64)
        v = (np.abs(c) ** 2).mean(axis=(0, 2), dtype=np.float64)
        use = np.divide(m, v, out=np.zeros(rows), where=v > 0)
        weighted[part] = c * use.astype(np.float32)[None, :, None]
        weight += len(part) * m * use
    return weighted, weight


def _statistic(amplitudes: NDArray[Any], variance: F64) -> F64:
    return np.asarray((np.abs(amplitudes) ** 2 / variance).sum(axis=-1), dtype=np.float64)


class AlphaFlatness(Finding):
    """Whether the mean energy is uniform around the axis.

    ``value`` is the relative deviation from the mean of ``alpha_cell``, the slice that deviates most significantly, in
    ``layer`` or, if that is None, in the sum over layers; ``floor`` is that of the same slice in the reference.
    ``p_value`` is that of the largest deviation in any layer or the sum. ``first`` and ``second`` are the amplitudes
    2 |a_k| of the first two harmonics of the sum over layers.
    """

    layer: int | None = None
    alpha_cell: int | None = None
    reference_p_value: float | None = None
    difference_p_value: float | None = None
    first: float | None = None
    first_error: float | None = None
    second: float | None = None
    second_error: float | None = None
    layer_p_values: tuple[float, ...] = ()
    reference_layer_p_values: tuple[float, ...] = ()


def alpha_flatness(
    generated: AlphaHarmonics,
    reference: AlphaHarmonics,
    *,
    layer_ids: Sequence[int] | None = None,
    angles: Angles = "normal",
    seed: int = 0,
) -> AlphaFlatness:
    """Test that the mean generated energy is uniform in alpha, in every layer and in their sum.

    Showers at an angle lean to one side: the means of cos(k alpha) and sin(k alpha) in their layers, every shower with
    the same weight, are compared with those of the reference instead, with errors from the spread between showers, in
    all layers that have energy in at least a tenth of its showers.

    Args:
        generated, reference: harmonics of the samples.
        layer_ids: numbers of all layers in the detector, for the sentence.
        angles: whether all showers are at normal incidence.
        seed: seed of the random rotations.

    Returns:
        ``differs`` if the energy is not uniform (p below 0.001) and differs from the reference; ``undecided`` if it is
        not uniform but compatible with the reference, if p is between 0.001 and 0.01, or if only the reference is not
        uniform; ``not judged`` for meshes without alpha cells, and below 100 showers of a sample. At an angle:
        ``differs`` if a harmonic differs from that of the reference (p below 0.001), ``undecided`` if p is below 0.01,
        or if it differs and the angles of the samples do as well.
    """
    check = "evenness in alpha"
    if generated.cells < 2:
        return AlphaFlatness(**skipped(check, "the mesh has no alpha cells").model_dump())
    if min(len(generated), len(reference)) < MIN_SHOWERS:
        few = f"{MIN_SHOWERS} showers of each sample are needed, there are {len(generated)} and {len(reference)}"
        return AlphaFlatness(**skipped(check, few).model_dump())
    if angles != "normal":
        return _as_reference(check, generated, reference, layer_ids, alike=angles == "alike")
    own, ref = modulation(generated, seed=seed), modulation(reference, seed=seed + 1)
    difference = _statistic(own.amplitudes - ref.amplitudes, own.errors**2 + ref.errors**2)
    # Bonferroni over layers and their sum.
    p_difference = min(1.0, len(difference) * float(chi2.sf(difference.max(), own.degrees)))
    values, errors = own.slices(generated.cells)
    uneven, ref_uneven = own.p_value < SURE, ref.p_value < SURE
    # The most significant layer if there is a deviation; else the sum over layers, which is most precise.
    row = int(own.p_values.argmin()) if own.p_value < _LIKELY else len(generated.layers)
    pulls = np.abs(values[row]) / np.maximum(errors[row], 1e-300)
    cell = int(pulls.argmax())
    layer, where = _named(row, generated, layer_ids)
    size = f"alpha slice {cell} of {where} has {100 * abs(values[row, cell]):.2g} +- {100 * errors[row, cell]:.2g} % "
    size += "more" if values[row, cell] > 0 else "less"
    status: Status = "agrees"
    words = f"uniform in alpha within statistics (p = {own.p_value:.2g})"
    if uneven and p_difference < SURE:
        status, words = "differs", f"not uniform in alpha: {size} than the mean"
    elif uneven:
        status = "undecided"
        words = f"not uniform in alpha, like the reference: {size} than the mean"
        if not ref_uneven:
            words = f"not uniform in alpha, but not significantly different from the reference: {size} than the mean"
    elif own.p_value < _LIKELY:
        status, words = "undecided", f"possibly not uniform in alpha (p = {own.p_value:.2g}): {size} than the mean"
    elif ref_uneven:
        status, words = "undecided", "uniform in alpha, but the reference is not"
    harmonics = [(2 * abs(own.amplitudes[-1, k]), 2 * own.errors[-1, k]) for k in range(min(2, own.errors.shape[1]))]
    first, second = [*harmonics, (None, None)][:2]
    return AlphaFlatness(
        check=check,
        status=status,
        words=words,
        value=float(values[row, cell]),
        error=float(errors[row, cell]),
        p_value=own.p_value,
        floor=float(ref.slices(reference.cells)[0][row, cell]),
        layer=layer,
        alpha_cell=cell,
        reference_p_value=ref.p_value,
        difference_p_value=p_difference,
        first=first[0],
        first_error=first[1],
        second=second[0],
        second_error=second[1],
        layer_p_values=tuple(own.p_values[:-1].tolist()),
        reference_layer_p_values=tuple(ref.p_values[:-1].tolist()),
    )


def _named(row: int, sample: AlphaHarmonics, layer_ids: Sequence[int] | None) -> tuple[int | None, str]:
    """Number and name of the layer of a row; None for the last row, the sum over layers."""
    if row == len(sample.layers):
        return None, "the sum over layers"
    index = sample.layers[row]
    layer = index if layer_ids is None else int(layer_ids[index])
    return layer, f"layer {layer}"


def _as_reference(
    check: str, generated: AlphaHarmonics, reference: AlphaHarmonics, layer_ids: Sequence[int] | None, *, alike: bool
) -> AlphaFlatness:
    """Compare the harmonics of showers at an angle with those of the reference, by their largest difference."""
    (own, own_error), (ref, ref_error) = _means(generated), _means(reference)
    judged = (reference.energies > 0).mean(axis=0) > _OCCUPIED
    errors = np.maximum(np.hypot(own_error, ref_error), 1e-12)
    pulls = np.where(judged[:, None, None], np.abs(own - ref) / errors, 0.0)
    # The harmonics of the layers are correlated; Bonferroni's bound holds anyway.
    tests = int(judged.sum()) * pulls.shape[1] * pulls.shape[2]
    p_value = min(1.0, 2 * tests * float(norm.sf(pulls.max())))
    row, part, k = (int(i) for i in np.unravel_index(int(pulls.argmax()), pulls.shape))
    layer, where = _named(row, generated, layer_ids)
    place = row, part, k
    size = f"{'sine' if part else 'cosine'} {k + 1} of {where} is {own[place]:.3f} +- {own_error[place]:.2g}, "
    size += f"in the reference {ref[place]:.3f} +- {ref_error[place]:.2g}"
    status: Status = "agrees"
    words = f"showers at an angle: around the axis like the reference (p = {p_value:.2g})"
    if p_value < SURE:
        status = "differs" if alike else "undecided"
        words = f"showers at an angle: around the axis not like the reference: {size}"
        words += "" if alike else "; the angles of the samples differ too"
    elif p_value < _LIKELY:
        status, words = "undecided", f"showers at an angle: possibly not like the reference (p = {p_value:.2g}): {size}"
    return AlphaFlatness(
        check=check,
        status=status,
        words=words,
        value=float(own[place]),
        error=float(own_error[place]),
        p_value=p_value,
        floor=float(ref[place]),
        layer=layer,
        difference_p_value=p_value,
    )


def _means(sample: AlphaHarmonics) -> tuple[F64, F64]:
    """Means of cos(k alpha) and sin(k alpha), weighted by energy within each shower, and errors, (L + 1, 2, K) each."""
    # The first cell begins at -pi, and its centre is half a cell further.
    k = np.arange(1, sample.harmonics.shape[2] + 1)
    energies = sample.energies[:, :, None]
    moments = np.divide(sample.harmonics, energies, out=np.zeros_like(sample.harmonics), where=energies > 0)
    moments = np.conj(moments) * np.exp(-1j * k * (np.pi - np.pi / sample.cells)).astype(np.complex64)
    parts = np.stack([moments.real, moments.imag], axis=2)
    errors = parts.std(axis=0, dtype=np.float64) / np.sqrt(len(sample))
    return parts.mean(axis=0, dtype=np.float64), errors
