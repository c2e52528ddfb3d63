"""How often sequential designs err, and how many seeds they take, by simulation.

python -m benchmarks.looks        prints docs/statistics.md's tables; under two minutes

The design's levels, the correction and the looks are those of the code that judges
(`results.sequential`, `results.statistics`); here they are only asked for many experiments at once.
`tests/platform/test_how_often_looks_err.py` holds both to the same verdicts.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from scipy import special
from supclap_platform.experiment.seeds import Looks, Spending, default_looks
from supclap_platform.results.adjusted import expected
from supclap_platform.results.inference import LEVEL
from supclap_platform.results.power import Contrast, power
from supclap_platform.results.sequential import design_of
from supclap_platform.results.statistics import step_down

from benchmarks.verdicts import SHAPES

AT_MOST, CLAIMS = 40, 7
TRIALS = 20_000
SPENDINGS: tuple[Spending, ...] = ("even", "linear", "pocock")
MATTERS = (0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
EFFECTS = (0.0, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
OPEN, HIGHER, LOWER, SMALL = 0, 1, -1, 2  # a verdict: none, above zero, below, negligible


@dataclass(frozen=True)
class Judged:
    """Of each experiment and claim the verdict, and the seeds that it took: (trials, claims)."""

    verdicts: np.ndarray
    seeds: np.ndarray


@dataclass(frozen=True)
class Bias:
    """Of the effects of decided claims, in spreads; and of those that the first look decides."""

    plain: float
    adjusted: float
    plain_first: float
    adjusted_first: float


def judge_all(differences: np.ndarray, looks: Looks, matters: float | None = None) -> Judged:
    """Verdicts on claims "mean above 0", as `results.looks.walk` gives them.

    Args:
        differences: (trials, claims, seeds).
        matters: what is negligible below, for every claim; None: nothing is.
    """
    design = design_of(looks)
    trials, claims, _ = differences.shape
    verdicts = np.full((trials, claims), OPEN)
    seeds = np.full((trials, claims), looks.at_most)
    tests = [0.0] if matters is None else [0.0, matters, -matters]
    above, below = (np.ones((len(tests), trials, claims)) for _ in range(2))
    questions = np.ones((trials, claims, 1 if matters is None else 2))
    for look, n in enumerate(looks.seeds):
        first = differences[..., :n]
        mean, error = first.mean(-1), first.std(-1, ddof=1) / n**0.5
        spread = error > 1e-9 * np.abs(first).max(-1)
        open_ = verdicts == OPEN
        for place, null in enumerate(tests):
            with np.errstate(divide="ignore", invalid="ignore"):
                t = np.where(spread, (mean - null) / error, 0.0)
            for ps, tails in ((above, special.stdtr(n - 1, -t)), (below, special.stdtr(n - 1, t))):
                of = design if place == 0 else design.small
                own = np.where(spread, of.levels(look, tails), 1.0)
                ps[place] = np.minimum(ps[place], own)
        asked = [np.minimum(1.0, 2 * np.minimum(above[0], below[0]))]
        if matters is not None:
            asked.append(np.maximum(below[1], above[2]))
        questions = np.where(open_[..., None], np.stack(asked, -1), questions)
        for trial in np.flatnonzero((claims * questions.min((1, 2)) <= LEVEL) & open_.any(1)):
            corrected = step_down(list(map(list, questions[trial])))
            for claim, answers in enumerate(corrected):
                if (
                    verdicts[trial, claim] != OPEN
                    or min(answers) > LEVEL
                    or not spread[trial, claim]
                ):
                    continue
                way = HIGHER if mean[trial, claim] > 0 else LOWER
                verdicts[trial, claim] = SMALL if answers[1:] and answers[1] <= LEVEL else way
                seeds[trial, claim] = n
    return Judged(verdicts, seeds)


def false_in_seven(shape: str, looks: Looks, trials: int = TRIALS) -> float:
    """Share of experiments with any false verdict on seven claims without an effect."""
    draw = SHAPES[shape]
    chance = np.random.default_rng(1)
    differences = draw(chance, (trials, CLAIMS * looks.at_most))
    found = judge_all(differences.reshape(trials, CLAIMS, -1), looks)
    return float(np.mean((found.verdicts != OPEN).any(1)))


def false_in_mixture(looks: Looks, trials: int = TRIALS) -> float:
    """The same where what matters is one spread, two claims have no effect, two exactly what
    matters, two twice as much and one half as much: the first may be negligible, the next may not,
    none may be below zero."""
    effects = np.array([0.0, 0.0, 1.0, 1.0, 2.0, 2.0, 0.5])
    differences = np.random.default_rng(2).normal(0, 1, (trials, CLAIMS, looks.at_most))
    found = judge_all(differences + effects[:, None], looks, matters=1.0).verdicts
    false = (
        (found == LOWER)
        | ((found == SMALL) & (effects >= 1))
        | ((found == HIGHER) & (effects == 0))
    )
    return float(np.mean(false.any(1)))


def cost(effect: float, looks: Looks, trials: int = TRIALS, claims: int = 1) -> tuple[float, float]:
    """Mean seeds of a claim whose effect is so many spreads, and the chance that it is found."""
    chance = np.random.default_rng(3)
    shape = (trials // claims, claims, looks.at_most)
    found = judge_all(chance.normal(effect, 1, shape), looks)
    return float(found.seeds.mean()), float(np.mean(found.verdicts == HIGHER))


def cost_of_nothing(
    looks: Looks, trials: int = TRIALS, claims: int = 1, matters: float = 1.0
) -> tuple[float, float]:
    """Mean seeds of a claim without an effect where so many spreads matter, and how often it is
    found negligible."""
    chance = np.random.default_rng(4)
    shape = (trials // claims, claims, looks.at_most)
    found = judge_all(chance.normal(0, 1, shape), looks, matters)
    return float(found.seeds.mean()), float(np.mean(found.verdicts == SMALL))


def bias(effect: float, looks: Looks, trials: int = TRIALS) -> Bias:
    """How far the effect of a claim that is decided above zero is from the true one, in the mean:
    as it was seen, and adjusted (`results.adjusted`)."""
    differences = np.random.default_rng(5).normal(effect, 1, (trials, 1, looks.at_most))
    found = judge_all(differences, looks)
    higher = found.verdicts[:, 0] == HIGHER
    mine, seeds = differences[higher, 0], found.seeds[higher, 0]
    seen = np.where(np.arange(looks.at_most) < seeds[:, None], mine, np.nan)
    mean, std = np.nanmean(seen, 1), np.nanstd(seen, 1, ddof=1)
    better = adjust_all(mean, std, looks)
    first = seeds == looks.seeds[0]
    return Bias(
        float(mean.mean() - effect),
        float(better.mean() - effect),
        float(mean[first].mean() - effect),
        float(better[first].mean() - effect),
    )


def adjust_all(mean: np.ndarray, std: np.ndarray, looks: Looks) -> np.ndarray:
    """`results.adjusted.adjusted` of many means, of one claim alone."""
    bounds = design_of(looks).bounds(LEVEL / 2)
    effects = np.concatenate([np.linspace(0, 4, 161), np.geomspace(4.05, 400, 60)])
    seen = np.array([expected(looks.seeds, bounds, float(effect)) for effect in effects])
    least = int(seen.argmin())
    return std * np.interp(mean / std, seen[least:], effects[least:])


def fixed_seeds(effect: float, level: float = LEVEL) -> int:
    """The fewest seeds of a fixed design that finds the effect with chance 80 %."""
    n = 2
    while power(Contrast(effect, 1), n, level) < 0.8:
        n += 1
    return n


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    designs = [Looks(default_looks(AT_MOST), spending) for spending in SPENDINGS]
    print("any false verdict in 7 claims, all looks")
    for shape in SHAPES:
        shares = (f"{false_in_seven(shape, looks):.4f}" for looks in designs)
        print(f"{shape:40}", *shares, sep="  ")
    shares = (f"{false_in_mixture(looks):.4f}" for looks in designs)
    print(f"{'normal, effects 0 to 2, 1 matters':40}", *shares, sep="  ")
    print("\nmean seeds, power of one claim; fixed design of 80 % power")
    for effect in EFFECTS:
        shown = ("{:5.1f} {:.2f}".format(*cost(effect, looks)) for looks in designs)
        print(f"{effect:5.2f}", *shown, fixed_seeds(effect) if effect else "", sep="  ")
    print("\nmean seeds, power of seven claims with the same effect; fixed design at 0.05 / 7")
    for effect in EFFECTS[3:]:
        shown = ("{:5.1f} {:.2f}".format(*cost(effect, looks, claims=CLAIMS)) for looks in designs)
        print(f"{effect:5.2f}", *shown, fixed_seeds(effect, LEVEL / CLAIMS), sep="  ")
    print("\nbias of the effect of a claim that is decided: as seen, adjusted; at the first look")
    for effect in EFFECTS[1:]:
        own = bias(effect, designs[0])
        every = f"{own.plain:+.3f} {own.adjusted:+.3f}"
        print(
            f"{effect:5.2f}", every, f"{own.plain_first:+.3f} {own.adjusted_first:+.3f}", sep="  "
        )
    print("\nno effect, so many spreads matter: mean seeds, negligible; one claim and seven")
    for matters in MATTERS:
        of = (cost_of_nothing(designs[0], claims=n, matters=matters) for n in (1, CLAIMS))
        print(f"{matters:5.2f}", *("{:5.1f} {:.2f}".format(*one) for one in of), sep="  ")


if __name__ == "__main__":
    main()
