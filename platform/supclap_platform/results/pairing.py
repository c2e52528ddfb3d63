"""Two rows of equal name, one of each side, as one evidence: its variants are "A" and "B"."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeVar

from supclap_platform.experiment.claims import Greater, Within
from supclap_platform.experiment.columns import Column
from supclap_platform.ledger.records import Result
from supclap_platform.results.caption import few_of
from supclap_platform.results.evidence import Evidence
from supclap_platform.results.sides import SideRow
from supclap_platform.results.table import Run

A, B = "A", "B"
Found = TypeVar("Found")


class Pairing:
    """The runs of a row on both sides, for one column.

    A run that both sides share (one folder) says nothing of a difference. Where some seeds of a row
    are shared runs and others are not, the shared ones are left out; where all are, ``same`` is
    true.
    """

    def __init__(self, a: SideRow, b: SideRow, column: str) -> None:
        rows = {A: a, B: b}
        self.columns: dict[str, Column] = {side: row.columns[column] for side, row in rows.items()}
        self._of: dict[str, tuple[Evidence, str]] = {
            side: (row.evidence, row.variant(row.columns[column])) for side, row in rows.items()
        }
        self.own_data = any(row.evidence.own_data for row in rows.values())

    @cached_property
    def shared(self) -> frozenset[int]:
        """Seeds whose run is one and the same on both sides."""
        (one, ours), (two, theirs) = self._of[A], self._of[B]
        places, others = one.places(ours), two.places(theirs)
        return frozenset(seed for seed in places if places[seed] == others.get(seed))

    @cached_property
    def same(self) -> bool:
        """Whether both sides have the same runs and no others."""
        every = {run.seed for side in self._of for run in self._every(side)}
        return bool(self.shared) and self.shared == every

    @cached_property
    def identical(self) -> bool:
        """Whether both sides have the same seeds, and each says the same to the last digit."""
        ours, theirs = self.results(A), self.results(B)
        return bool(ours) and {s: (r.data, r.metrics) for s, r in ours.items()} == {
            s: (r.data, r.metrics) for s, r in theirs.items()
        }

    @property
    def silent(self) -> bool:
        """Whether both sides have finished runs, and none of them reports the column."""
        every = [self.values(side, self.columns[side].measure.name) for side in (A, B)]
        return all(every) and all(v is None for values in every for v in values.values())

    @property
    def other_data(self) -> tuple[str, str] | None:
        """The hashes of the data of A and of B, where a seed saw other data in A than in B; of all
        seeds where none is in both."""
        ours, theirs = ({s: r.data for s, r in self.results(side).items()} for side in (A, B))
        both = ours.keys() & theirs.keys()
        if both:
            ours, theirs = ({s: own[s] for s in sorted(both)} for own in (ours, theirs))
        if ours == theirs or (
            not both and (self.own_data or set(ours.values()) == set(theirs.values()))
        ):
            return None
        one, other = (few_of(sorted(set(own.values()))) for own in (ours, theirs))
        return one, other

    def runs(self, variant: str) -> list[Run]:
        return [run for run in self._every(variant) if run.seed not in self._left_out]

    def results(self, variant: str) -> Mapping[int, Result]:
        evidence, name = self._of[variant]
        return self._kept(evidence.results(name))

    def values(self, variant: str, metric: str) -> dict[int, float | None]:
        evidence, name = self._of[variant]
        return self._kept(evidence.values(name, metric))

    def asked(self, claim: Greater | Within, variant: str) -> dict[int, float | None]:
        evidence, name = self._of[variant]
        return self._kept(evidence.asked(claim, name))

    def curves(self, variant: str, metric: str) -> dict[int, dict[int, float]]:
        evidence, name = self._of[variant]
        return self._kept(evidence.curves(name, metric))

    def ranks(self, variant: str) -> dict[int, Mapping[str, Any]]:
        evidence, name = self._of[variant]
        return self._kept(evidence.ranks(name))

    def _every(self, side: str) -> list[Run]:
        evidence, name = self._of[side]
        return evidence.runs(name)

    @cached_property
    def _left_out(self) -> frozenset[int]:
        return frozenset() if self.same else self.shared

    def _kept(self, of_seeds: Mapping[int, Found]) -> dict[int, Found]:
        return {seed: one for seed, one in of_seeds.items() if seed not in self._left_out}
