"""The page that the study writes: tables, figures, and captions with their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from fisherae.evaluation.report import Cell, Report, spread
from fisherae.studies.blindness import autoencoders, encoders, gaps, weights
from fisherae.studies.blindness.truths import TRUTHS
from fisherae.studies.pages import begun

__all__ = ["Results", "written"]


@dataclass(frozen=True)
class Results:
    """Everything that was found."""

    curves: list[weights.Divergences]
    growing: list[weights.Divergences]
    needed: list[weights.Needed]
    errors: list[weights.Errors]
    cores: list[gaps.CoreMass]
    islands: list[gaps.IslandError]
    encoded: list[encoders.Encoded]
    inferred: list[encoders.Inferred]
    fits: list[autoencoders.Fit]


def written(results: Results, command: str, seeds: int, steps: int) -> str:
    """The page, in Markdown."""
    report = begun("Where score matching is blind", command).text(
        f"{seeds} seed(s), means ± standard deviations over them; auto-encoders were trained for "
        f"{steps:,} steps. What it means and what to do about it: "
        "[docs/blindness.md](../../docs/blindness.md)."
    )
    for add in (_weights, _gaps, _encoders, _autoencoders, _methods):
        add(report, results)
    return report.markdown()


def _weights(report: Report, results: Results) -> None:
    rows: list[list[Cell]] = []
    for found in results.needed:
        divergence = weights.divergences(found.separation, 1 - weights.WEIGHT)
        rows.append(
            [
                f"{found.separation:g}",
                f"{divergence.fisher:.2g}",
                f"{divergence.kl:.2f}",
                _count(found.score_matching),
                _count(found.likelihood),
                f"{_count(found.with_noise)} (τ = {found.noise:.1f})",
                *(_error(results.errors, found.separation, n) for n in _ESTIMATORS),
            ]
        )
    blind = next(n for n in results.needed if n.score_matching > 10 * n.likelihood)
    last = results.needed[-1]
    report.heading("1. The weight of one of two Gaussians").text(
        "p_w = w N(−Δ/2, 1) + (1 − w) N(Δ/2, 1), the true weight π = 0.25. The divergences are "
        "those of w = 0.75; the samples are those for a standard error of 0.05, by the asymptotic "
        "variances; the errors were measured on data sets drawn anew."
    )
    header = [
        *("Δ", "D_∇", "KL", "samples, score matching", "likelihood", "score matching with noise"),
        *("error, score matching", "error, likelihood"),
    ]
    report.table(header, rows).text("![weights](weights.png)").text(
        f"*From Δ = {blind.separation:g} on, score matching needs more than ten times the samples "
        f"of maximum likelihood; at Δ = {last.separation:g} {_count(last.score_matching)} against "
        f"{_count(last.likelihood)}. With noise N(0, τ²) on the data it needs "
        f"{_count(last.with_noise)}, at whatever separation. Everything but the measured errors is "
        "quadrature.*"
    )


def _gaps(report: Report, results: Results) -> None:
    rows: list[list[Cell]] = []
    for barrier in sorted({c.barrier for c in results.cores}):
        own = [c for c in results.cores if c.barrier == barrier]
        proper = [c.score_matching for c in own if c.score_matching is not None]
        rows.append(
            [
                f"{barrier:g}",
                _spread(proper),
                _spread([c.likelihood for c in own]),
                f"{len(own) - len(proper)} of {len(own)}",
            ]
        )
    separations = sorted({i.separation for i in results.islands})
    islands: list[list[Cell]] = [
        [
            f"{separation:g}",
            *(
                _spread([getattr(i, n) for i in results.islands if i.separation == separation])
                for n in ("score_matching", "with_noise", "likelihood")
            ),
        ]
        for separation in separations
    ]
    report.heading("2. Priors with gaps").text(
        "A core within a ring, p(z) ∝ exp(ηᵀ (s, s², s³)), s = ‖z‖², refitted in closed form by "
        f"`ExponentialFamily.fit` and by maximum likelihood: the mass of the core, {gaps.CORE} in "
        "truth, mean ± standard deviation over data sets."
    )
    report.table(
        ["barrier b (nats)", "score matching", "likelihood", "score matching improper"], rows
    )
    report.text(
        "Three islands of weights 0.6, 0.3 and 0.1, whose weights are fitted: misplaced mass."
    )
    report.table(["Δ", "score matching", "score matching with noise", "likelihood"], islands)
    report.text("![gaps](gaps.png)").text(
        "*Left: one point for each data set; the dotted line is the truth. Right: mean and "
        "standard deviation over the seeds. Score matching finds the shape of every part and not "
        "how much of the mass is in it; likelihood does not mind the gap, and noise closes it.*"
    )


def _encoders(report: Report, results: Results) -> None:
    gap = max(results.encoded, key=lambda e: e.marginal / max(e.joint, 1e-12) * (e.marginal > 0.1))
    wrong = min((i for i in results.inferred if i.mean < 0), key=lambda i: i.fisher)
    report.heading("3. What the encoder does to the objective")
    report.text("![encoder](encoder.png)").text(
        "*Left: x ~ N(0, 1), p(z) = N(0, 1), p(x|z) = N(w z, 0.1), in closed form. With the best "
        "encoder the divergence of the joints is below that of the marginals, at a variance of "
        f"{gap.variance:.2f} {gap.joint:.2f} against {gap.marginal:.2f} (that encoder's slope is "
        f"{gap.gain:.2f}, the posterior's {gap.posterior_gain:.2f}); for KL the two are equal. "
        "Right: a posterior with a mode of mass 0.001 on the left and one of 0.999 on the right, "
        "by quadrature. The Fisher divergence of N(m, 1) has a second minimum on the left, "
        f"{wrong.fisher:.2f} at m = {wrong.mean:.1f}, where KL is {wrong.kl:.1f} nats.*"
    )


def _autoencoders(report: Report, results: Results) -> None:
    own = [f for f in results.fits if f.method in autoencoders.COMPARED]
    rows: list[list[Cell]] = [
        [
            truth,
            method,
            *_measures([f for f in own if (f.truth, f.method) == (truth, method)]),
        ]
        for truth in TRUTHS
        for method in autoencoders.COMPARED
    ]
    problems = "; ".join(f"**{n}**: {t.what}" for n, t in TRUTHS.items())
    largest = max(abs(f.importance) for f in results.fits if f.importance is not None)
    report.heading("4. Auto-encoders").text(
        f"Points in the plane, one latent dimension, the same networks (two layers of 64, SiLU), "
        f"first weights, points and steps for all. {problems}."
    )
    report.text(
        "Everything is by quadrature over the latent dimension: KL[p⋆ ‖ p], which is the held-out "
        "log-likelihood but for a constant; D_∇[p⋆ ‖ p] of the marginals, and of the joints by "
        "Theorem 1 (of the exact objective, however a model was trained); the total variation "
        "distance of q(z|x) and p(z|x); the mass of the part that weighs 0.25. Importance sampling "
        f"agrees with quadrature within {largest:.3f} nats on average for every model."
    )
    header = [
        *("data", "trained by", "KL", "held-out log p(x)", "D_∇, marginals", "D_∇, joints"),
        *("q against posterior", "mass of 0.25", "misplaced", "s"),
    ]
    report.table(header, rows).text("![densities](densities.png)").text(
        "*p(x) of the first seed's models, brightness its square root. Of the mass, score matching "
        "without an encoder misplaces "
        + ", ".join(
            f"{_mean_of(own, truth, 'Score matching, no encoder', 'misplaced'):.2f} on {truth}"
            for truth in TRUTHS
        )
        + "; likelihood "
        + ", ".join(
            f"{_mean_of(own, truth, 'Likelihood, no encoder', 'misplaced'):.2f}" for truth in TRUTHS
        )
        + ". There is no encoder there to blame: it is the divergence that does not see them.*"
    )


def _methods(report: Report, results: Results) -> None:
    rows: list[list[Cell]] = []
    for method in dict.fromkeys(f.method for f in results.fits):
        cells: list[Cell] = []
        for truth in autoencoders.DISCONNECTED:
            own = [f for f in results.fits if (f.truth, f.method) == (truth, method)]
            cells += [_spread([f.kl for f in own]), _spread([f.minor for f in own])]
            cells.append(_spread([f.mismatch for f in own if f.mismatch is not None]))
        rows.append([method, *cells])
    columns = ("KL", "mass of 0.25", "q against posterior")
    header = [f"{truth}: {what}" for truth in autoencoders.DISCONNECTED for what in columns]
    report.heading("5. What helps").text("On the two problems whose parts are apart.")
    report.table(["trained by", *header], rows).text("![methods](methods.png)")
    report.text("*One point for each seed, a bar at the mean; the dotted line is the true mass.*")


_ESTIMATORS = ("score_matching", "likelihood")


def _measures(own: Sequence[autoencoders.Fit]) -> list[str]:
    names = ("kl", "log_likelihood", "fisher", "joint", "mismatch", "minor", "misplaced", "std")
    columns = ([getattr(fit, name) for fit in own] for name in names)
    return [_spread([value for value in column if value is not None]) for column in columns]


def _mean_of(fits: Sequence[autoencoders.Fit], truth: str, method: str, measure: str) -> float:
    own = [f for f in fits if (f.truth, f.method) == (truth, method)]
    return float(mean(getattr(f, measure) for f in own))


def _error(errors: Sequence[weights.Errors], separation: float, name: str) -> str:
    return _spread([getattr(e, name) for e in errors if e.separation == separation])


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation."""
    if not values:
        return ""
    return spread(values, digits=3 if abs(mean(values)) < 1 else 2)


def _count(samples: float) -> str:
    return f"{samples:,.0f}" if samples < 1e6 else f"{samples:.1e}"
