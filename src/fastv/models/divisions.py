"""The plan by which the energies of a shower's layers are divided down to its voxels, and what each division sees."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastv.detector.mesh import ReadoutMesh

Ints = NDArray[np.int64]
Range = tuple[int, int]

_OWN, _BELOW, _ABOVE, _AHEAD, _AROUND = range(5)
_ALPHA_SEEN = 40


@dataclass(frozen=True)
class DivisionPlan:
    """All divisions of the layers of a mesh, in an order in which they can be made.

    The energies of a shower are numbered: 0 is a place that stays empty, then for each layer its energy, the energies
    of blocks of rings, of rings, of arcs of rings, and of voxels. A division takes a *parent* and gives its energy to
    its *first* and *second* part. Rings are divided before alpha, each range of cells in the middle.

    Layers are divided in an order that goes from a wide spacing to a narrow one (0, 32; 16; 8, 24, 40; ...), so that
    each but the first few can see divided layers *below* and *above* it. All divisions of a *step* are made at once;
    a layer follows one step behind the layers that it sees.

    A division sees the energies of its neighbourhood that are known at its step; ``seen`` has their numbers, 0 for
    those that do not exist or are not known yet:

    * of rings: all blocks of its layer at this level; in each layer seen, the two parts and all blocks a level below;
      the sums of these over all layers that are a step or more ahead;
    * of alpha: the eight blocks around the parent in alpha and r; in each layer seen, the parts of the same block and
      of its four neighbours that touch it; the sums over all layers ahead of the parts of the same block and of its
      neighbours in r; the sums of these parts over rings, of the layers two waves ahead or more; with ``checkerboard``,
      for every second block, the parts of its four neighbours in the own layer, which are divided half a level before.

    The sums tell where the axis and how wide the shower is. Like energies, they have numbers. Layers of different
    segmentation do not see each other.

    Attributes:
        blocks: number of energies of layers and their blocks, the empty place included; sums have larger numbers.
        size: number of all, with sums.
        roots: numbers of the layer energies, (L,).
        leaves: numbers of the voxels, (V,).
        parent, first, second: numbers of the energies of each division, (D,).
        layer: layer of each division, (D,).
        place: which division of its layer it is, equal for all layers of the same segmentation, (D,).
        level: how many divisions of the layer come before it, (D,).
        rings: whether it divides rings, (D,).
        arc: cells in alpha of the energy that is divided, (D,).
        step: its step, in increasing order, (D,); within a step rings come first, then large arcs.
        seen: numbers of the energies that it sees, (D, F).
        contrasts: columns of ``seen`` of the two parts below, above, ahead, and ahead over rings, of divisions of
            rings and in alpha, (2, 4, 2); -1 where there are none.
        like: divisions with equal numbers are turned into each other by rotations of the shower, (D,).
        places: number of different places.
        sums: numbers of the sums, (S,).
        summands: numbers of the energies that make each sum, 0 where there are fewer, (S, K).
        sum_step: the step after which a sum is known, in increasing order, (S,).
    """

    blocks: int
    size: int
    roots: Ints
    leaves: Ints
    parent: Ints
    first: Ints
    second: Ints
    layer: Ints
    place: Ints
    level: Ints
    rings: NDArray[np.bool_]
    arc: Ints
    step: Ints
    seen: Ints
    contrasts: Ints
    like: Ints
    places: int
    sums: Ints
    summands: Ints
    sum_step: Ints

    @cached_property
    def steps(self) -> tuple[slice, ...]:
        """The divisions of each step."""
        return tuple(
            slice(*(int(end) for end in np.searchsorted(self.step, [step, step + 1]))) for step in np.unique(self.step)
        )

    @cached_property
    def sum_steps(self) -> tuple[slice, ...]:
        """The sums that are known after each step."""
        return tuple(
            slice(*(int(end) for end in np.searchsorted(self.sum_step, [step, step + 1])))
            for step in np.unique(self.step)
        )

    @cached_property
    def sums_by_wave(self) -> tuple[Ints, ...]:
        """The sums in an order in which each comes after those that are part of it."""
        order: list[Ints] = []
        left = np.ones(len(self.sums), dtype=bool)
        while left.any():
            ready = left & ~np.isin(self.summands, self.sums[left]).any(axis=1)
            order.append(np.flatnonzero(ready))
            left &= ~ready
        return tuple(order)

    @cached_property
    def upwards(self) -> tuple[Ints, ...]:
        """The divisions of each level, from the voxels to the layers: the order in which parts are added up."""
        return tuple(np.flatnonzero(self.level == level) for level in np.unique(self.level)[::-1])


def plan_divisions(mesh: ReadoutMesh, *, halvings: int = 5, checkerboard: bool = True) -> DivisionPlan:
    """Plan the divisions of the layers of a mesh.

    Args:
        mesh: the readout mesh; its layers may differ in their segmentation.
        halvings: how often the spacing of the layers is halved until all are divided; 0 divides all at once.
        checkerboard: divide every second block of a level in alpha after the others, so that it can see their parts.

    Example:
        >>> mesh = ReadoutMesh.cylinder(layers=4, alpha_cells=4, r_cells=2, layer_thickness=3.4, r_size=5)
        >>> plan = plan_divisions(mesh, halvings=1)
        >>> len(plan.parent), plan.blocks, len(plan.steps)
        (28, 61, 6)
    """
    kinds: dict[tuple[int, int], _Layer] = {}
    layers = []
    most_rings = max(layer.r_cells for layer in mesh.layers)
    for layer in mesh.layers:
        shape = (layer.alpha_cells, layer.r_cells)
        if shape not in kinds:
            kinds[shape] = _Layer(*shape, most_rings, checkerboard=checkerboard)
        layers.append(kinds[shape])
    ring_levels = max(kind.ring_levels for kind in kinds.values())
    place_of = dict(zip(kinds, np.cumsum([0, *(len(kind.parent) for kind in kinds.values())]).tolist(), strict=False))
    wave, below, above = _nested_order(len(layers), halvings)
    start = 1 + np.cumsum([0, *(kind.nodes for kind in layers)])
    sums = _Sums(layers, wave, start, ring_levels)
    rows: dict[str, list[Ints]] = {
        name: [] for name in ("parent", "first", "second", "layer", "place", "level", "arc", "step", "like")
    }
    seen, leaves, rings, alike = [], [], [], 0
    for number, kind in enumerate(layers):
        here, count = int(start[number]), len(kind.parent)
        rows["parent"].append(here + kind.parent)
        rows["first"].append(here + kind.first)
        rows["second"].append(here + kind.second)
        rows["layer"].append(np.full(count, number))
        rows["place"].append(place_of[kind.alpha, kind.r] + np.arange(count))
        rows["level"].append(kind.level)
        rows["arc"].append(kind.arc)
        rows["step"].append(wave[number] + kind.steps(ring_levels))
        rows["like"].append(alike + kind.like)
        alike += int(kind.like.max(initial=-1)) + 1
        leaves.append(here + kind.leaves)
        rings.append(kind.rings)
        origins = np.zeros(5, dtype=np.int64)
        origins[_OWN] = here
        origins[_AHEAD], origins[_AROUND] = sums.origins(kind, int(wave[number]))
        for which, other in ((_BELOW, int(below[number])), (_ABOVE, int(above[number]))):
            if other >= 0 and layers[other] is kind:
                origins[which] = start[other]
        # Numbers of nodes are relative to their layer; -1 is no node.
        absolute = np.where((kind.seen >= 0) & (origins[kind.seen_in] > 0), kind.seen + origins[kind.seen_in], 0)
        seen.append(absolute)
    joined = {name: np.concatenate(parts) for name, parts in rows.items()}
    of_rings = np.concatenate(rings)
    order = np.lexsort((-joined["arc"], ~of_rings, joined["step"]))
    joined = {name: values[order] for name, values in joined.items()}
    visible = np.concatenate(seen)[order]
    known = np.zeros(sums.size, dtype=np.int64) - 1
    known[joined["first"]] = known[joined["second"]] = joined["step"]
    known[sums.numbers] = sums.steps
    visible[known[visible] >= joined["step"][:, None]] = 0
    return DivisionPlan(
        blocks=int(start[-1]),
        size=sums.size,
        sums=sums.numbers,
        summands=sums.summands,
        sum_step=sums.steps,
        roots=start[:-1].astype(np.int64),
        leaves=np.concatenate(leaves),
        rings=of_rings[order],
        seen=visible,
        contrasts=_contrasts(most_rings),
        places=sum(len(kind.parent) for kind in kinds.values()),
        **joined,
    )


def _contrasts(most_rings: int) -> Ints:
    """Columns of what is seen of the parts in other layers; see :class:`DivisionPlan`."""
    of_rings = _ring_columns(most_rings)
    begin = [[most_rings + i * (2 + most_rings) for i in range(3)], [of_rings + i for i in (8, 16, 24, 30)]]
    return np.array([[[at, at + 1] for at in begin[0]] + [[-1, -1]], [[at, at + 1] for at in begin[1]]])


def _ring_columns(most_rings: int) -> int:
    """How many energies a division of rings sees."""
    return most_rings + 3 * (2 + most_rings)


def halves(cells: int) -> list[list[Range]]:
    """Ranges of cells at each level, from all cells to single ones; each range is divided in the middle.

    Example:
        >>> halves(3)
        [[(0, 3)], [(0, 1), (1, 3)], [(0, 1), (1, 2), (2, 3)]]
    """
    levels = [[(0, cells)]]
    while any(end - start > 1 for start, end in levels[-1]):
        following: list[Range] = []
        for start, end in levels[-1]:
            middle = (start + end) // 2
            following += [(start, end)] if end - start == 1 else [(start, middle), (middle, end)]
        levels.append(following)
    return levels


def _nested_order(layers: int, halvings: int) -> tuple[Ints, Ints, Ints]:
    """The wave in which each layer is divided, and the nearest layers below and above of earlier waves, or -1."""
    wave = np.full(layers, -1, dtype=np.int64)
    below, above = np.full(layers, -1, dtype=np.int64), np.full(layers, -1, dtype=np.int64)
    number = 0
    for spacing in (2**power for power in range(halvings, -1, -1)):
        new = np.flatnonzero((np.arange(layers) % spacing == 0) & (wave < 0))
        done = np.flatnonzero(wave >= 0)
        if not len(new):
            continue
        if len(done):
            place = np.searchsorted(done, new)
            below[new] = np.where(place > 0, done[np.maximum(place - 1, 0)], -1)
            above[new] = np.where(place < len(done), done[np.minimum(place, len(done) - 1)], -1)
        wave[new] = number
        number += 1
    return wave, below, above


class _Sums:
    """Numbers of the sums over the layers of a segmentation that are ahead of a wave, for each wave and node.

    The sum for a wave is that for the wave before plus the energies of that wave. The sums over rings are made of
    sums that are known a step before.
    """

    def __init__(self, layers: list[_Layer], wave: Ints, start: Ints, ring_levels: int) -> None:
        self._origins: dict[tuple[int, int], tuple[int, int]] = {}
        self.size = int(start[-1])
        rows: list[tuple[int, int, list[int]]] = []
        for kind in dict.fromkeys(layers):
            own = [number for number, each in enumerate(layers) if each is kind]
            known = np.full(kind.nodes, -1)
            known[kind.first] = known[kind.second] = kind.steps(ring_levels)
            earlier = before = 0
            for now in range(1, int(wave[own].max()) + 1):
                if not any(wave[number] == now - 1 for number in own) and not before:
                    continue
                origin, around = self.size, 0
                ahead = [int(start[number]) for number in own if wave[number] == now - 1]
                for node in range(1, kind.nodes):  # layer energies are known to all
                    summands = [each + node for each in ahead] + ([before + node] if before else [])
                    rows.append((now - 1 + int(known[node]), origin + node, summands))
                self.size += kind.nodes
                if before:
                    around = self.size
                    for number, nodes in enumerate(kind.around):
                        # What is divided half a level later is taken from the wave before.
                        first = int(known[nodes].min())
                        since = np.where(known[nodes] == first, before, earlier)
                        summands = [int(each) for each in (since + nodes)[since > 0]]
                        rows.append((now - 1 + first, around + number, summands))
                    self.size += len(kind.around)
                self._origins[id(kind), now] = origin, around
                earlier, before = before, origin
        rows.sort(key=lambda row: row[0])
        width = max((len(summands) for *_, summands in rows), default=0)
        self.steps = np.array([step for step, *_ in rows], dtype=np.int64)
        self.numbers = np.array([number for _, number, _ in rows], dtype=np.int64)
        self.summands = np.array([each + [0] * (width - len(each)) for *_, each in rows], dtype=np.int64)
        self.summands = self.summands.reshape(len(rows), width)

    def origins(self, kind: _Layer, wave: int) -> tuple[int, int]:
        """Numbers of the sums for a wave: of the first node, of the first arc over rings; 0 if there is none."""
        return self._origins.get((id(kind), wave), (0, 0))


class _Layer:
    """The divisions of one layer of a segmentation, with nodes numbered from 0, the layer itself."""

    def __init__(self, alpha: int, r: int, most_rings: int, *, checkerboard: bool) -> None:
        self.alpha, self.r, self._most_rings = alpha, r, most_rings
        self._numbers: dict[tuple[Range, Range], int] = {}
        self._of_rings, self._of_alpha = halves(r), halves(alpha)
        self.ring_levels = len(self._of_rings) - 1
        for blocks in self._of_rings:
            for block in blocks:
                self._number((0, alpha), block)
        for ring in range(r):
            for blocks in self._of_alpha:
                for block in blocks:
                    self._number(block, (ring, ring + 1))
        self.nodes = len(self._numbers)
        self.leaves = np.array([self._number((a, a + 1), (i, i + 1)) for a in range(alpha) for i in range(r)])
        # Each arc of all rings: the numbers of its blocks.
        arcs = list(dict.fromkeys(arc for blocks in self._of_alpha[1:] for arc in blocks))
        self._arcs = {arc: number for number, arc in enumerate(arcs)}
        self.around = [np.array([self._number(arc, (ring, ring + 1)) for ring in range(r)]) for arc in arcs]
        self._rows: list[tuple[int, int, int, int, int, bool, list[tuple[int, int]]]] = []
        self._like: list[tuple[int, ...]] = []
        self._divide_rings()
        self._divide_alpha(checkerboard=checkerboard)
        self.parent, self.first, self.second, self.level, self.arc = (
            np.array([row[i] for row in self._rows], dtype=np.int64) for i in range(5)
        )
        self.rings = np.array([row[5] for row in self._rows], dtype=bool)
        kinds_of_division = {each: number for number, each in enumerate(dict.fromkeys(self._like))}
        self.like = np.array([kinds_of_division[each] for each in self._like], dtype=np.int64)
        of_rings = _ring_columns(most_rings)
        pairs = np.zeros((len(self._rows), of_rings + _ALPHA_SEEN, 2), dtype=np.int64)
        pairs[:, :, 1] = -1
        for row, (*_, is_ring, seen) in zip(pairs, self._rows, strict=True):
            begin = 0 if is_ring else of_rings
            row[begin : begin + len(seen)] = seen
        self.seen_in, self.seen = pairs[:, :, 0], pairs[:, :, 1]

    def steps(self, ring_levels: int) -> Ints:
        """The step of each division after the first of its wave, where some layers have ``ring_levels`` of rings.

        The divisions in alpha of all layers of a wave are at the same steps, whatever their number of rings.
        """
        return np.where(self.rings, self.level, self.level - self.ring_levels + ring_levels)

    def _number(self, alpha: Range, r: Range) -> int:
        return self._numbers.setdefault((alpha, r), len(self._numbers))

    def _divide_rings(self) -> None:
        around = (0, self.alpha)
        for level, (blocks, following) in enumerate(zip(self._of_rings, self._of_rings[1:], strict=False)):
            for start, end in blocks:
                if end - start == 1:
                    continue
                first, second = (start, (start + end) // 2), ((start + end) // 2, end)
                seen = [(_OWN, self._number(around, block)) for block in blocks]
                seen += [(_OWN, -1)] * (self._most_rings - len(blocks))
                for which in (_BELOW, _ABOVE, _AHEAD):
                    seen += [(which, self._number(around, part)) for part in (first, second)]
                    seen += [(which, self._number(around, block)) for block in following]
                    seen += [(which, -1)] * (self._most_rings - len(following))
                parent, one, two = (self._number(around, part) for part in ((start, end), first, second))
                self._rows.append((parent, one, two, level, self.alpha, True, seen))
                self._like.append((level, start))

    def _divide_alpha(self, *, checkerboard: bool) -> None:
        sublevels = 2 if checkerboard else 1
        for level, (blocks, following) in enumerate(zip(self._of_alpha, self._of_alpha[1:], strict=False)):
            for ring in range(self.r):
                for place, (start, end) in enumerate(blocks):
                    if end - start == 1:
                        continue
                    late = (place + ring) % sublevels
                    middle = (start + end) // 2
                    first, second = following.index((start, middle)), following.index((middle, end))
                    seen = self._around(blocks, place, ring) + self._in_layers(following, first, second, ring)
                    seen += [
                        self._node(_AHEAD, following, at, ring + out) for out in (0, -1, 1) for at in (first, second)
                    ]
                    seen += [(_AROUND, self._arcs[following[at]]) for at in (first, second)]
                    seen += self._beside(following, first, second, ring) if late else []
                    own = (ring, ring + 1)
                    nodes = [self._number(block, own) for block in ((start, end), following[first], following[second])]
                    at = self.ring_levels + sublevels * level + late
                    self._rows.append((nodes[0], nodes[1], nodes[2], at, end - start, False, seen))
                    self._like.append((self.ring_levels + level, ring, end - start))

    def _node(self, which: int, blocks: list[Range], place: int, ring: int) -> tuple[int, int]:
        """A block of a ring, at a place that goes around in alpha; no node beyond the first and the last ring."""
        if not 0 <= ring < self.r:
            return which, -1
        return which, self._number(blocks[place % len(blocks)], (ring, ring + 1))

    def _around(self, blocks: list[Range], place: int, ring: int) -> list[tuple[int, int]]:
        steps = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1))
        return [self._node(_OWN, blocks, place + along, ring + out) for along, out in steps]

    def _in_layers(self, following: list[Range], first: int, second: int, ring: int) -> list[tuple[int, int]]:
        steps = [(first, 0), (second, 0), (first - 1, 0), (second + 1, 0)]
        steps += [(first, -1), (second, -1), (first, 1), (second, 1)]
        return [self._node(which, following, at, ring + out) for which in (_BELOW, _ABOVE) for at, out in steps]

    def _beside(self, following: list[Range], first: int, second: int, ring: int) -> list[tuple[int, int]]:
        steps = [(first - 1, 0), (second + 1, 0), (first - 2, 0), (second + 2, 0)]
        steps += [(first, -1), (second, -1), (first, 1), (second, 1)]
        return [self._node(_OWN, following, at, ring + out) for at, out in steps]
