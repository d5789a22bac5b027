"""Out-of-distribution detection: which score tells a digit from what is none?

Scores of the Fisher AE, per image: its loss, an estimate of the Hyvärinen score of the model
(Remark 1); of it the posterior mismatch alone, term ① of eq. (10); the reconstruction error. Of a
VAE with the same networks: −ELBO and the reconstruction error. AUROC: the chance that a stranger
has a higher score than a test digit.

    python examples/out_of_distribution.py     writes out_of_distribution.png beside this file
"""

from collections.abc import Sequence

import numpy as np
import torch
from digits import Rows, options_of, split
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score
from vae import Vae

import fisherae as fae
from fisherae.evaluation.figures.files import render
from fisherae.files import write_atomically

SAMPLES = 16


def strangers(test: Rows) -> dict[str, Rows]:
    random = np.random.default_rng(0)
    return {
        "inverted": 1 - test,
        "permuted pixels": test[:, random.permutation(64)],
        "upside down": test[:, ::-1],
        "two digits mixed": (test + test[random.permutation(len(test))]) / 2,
        "uniform noise": random.uniform(size=test.shape),
        "Gaussian, same moments": random.multivariate_normal(
            test.mean(0), np.cov(test.T), len(test)
        ),
    }


def fisher_scores(estimator: fae.FisherAutoencoder, X: Rows) -> dict[str, Rows]:
    model = estimator.model_
    x = torch.from_numpy((X - estimator.mean_) / estimator.scale_)
    torch.manual_seed(0)
    terms = fae.FisherObjective(model, samples=SAMPLES)(x, reduce=False)
    with torch.no_grad():
        error = (model.reconstruct(x) - x).square().sum(1)
    return {
        "Fisher AE: Hyvärinen score": terms.total.detach().numpy(),
        "Fisher AE: posterior mismatch": terms.posterior.detach().numpy(),
        "Fisher AE: reconstruction error": error.numpy(),
    }


@torch.no_grad()
def vae_scores(vae: Vae, X: Rows) -> dict[str, Rows]:
    x = vae.standardized(X)
    torch.manual_seed(0)
    negative_elbo = fae.ElboObjective(vae.model, samples=SAMPLES)(x, reduce=False).total
    error = (vae.model.reconstruct(x) - x).square().sum(1)
    return {"VAE: −ELBO": negative_elbo.numpy(), "VAE: reconstruction error": error.numpy()}


def picture(table: dict[str, list[float]], columns: list[str]) -> Figure:
    figure = Figure(figsize=(7.6, 3.4), layout="constrained")
    axes = figure.subplots()
    values = np.array(list(table.values()))
    axes.imshow(values, cmap="RdBu", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value - 0.5) > 0.35 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), columns, fontsize=8)
    axes.set_yticks(range(len(table)), list(table), fontsize=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("AUROC against test digits", fontsize=10)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    train, test, _, _ = split()
    estimator = fae.FisherAutoencoder(8, epochs=options.epochs, random_state=0).fit(train)
    vae = Vae(8, options.epochs).fit(train)

    def scores(X: Rows) -> dict[str, Rows]:
        return fisher_scores(estimator, X) | vae_scores(vae, X)

    known = scores(test)
    others = {name: scores(X) for name, X in strangers(test).items()}
    is_other = np.repeat([0, 1], len(test))
    table = {
        score: [
            float(roc_auc_score(is_other, np.concatenate([values, other[score]])))
            for other in others.values()
        ]
        for score, values in known.items()
    }
    for score, row in table.items():
        print(f"{score:34}" + "".join(f"{value:8.3f}" for value in row))
    columns = [name.replace(" ", "\n", 1) for name in others]
    write_atomically(
        options.out / "out_of_distribution.png", render(picture(table, columns), "png")
    )


if __name__ == "__main__":
    main()
