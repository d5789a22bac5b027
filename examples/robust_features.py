"""Features that survive corruption: what a classifier that was trained on clean digits still sees.

PCA, a VAE and the Fisher AE each learn eight features of clean images, a second Fisher AE from
images with Gaussian noise of variances up to 0.5. A linear probe and nearest
neighbours learn the classes from them, and are tested on corrupted images.

    python examples/robust_features.py         writes robust_features.png beside this file
"""

from collections.abc import Sequence
from typing import Any

from digits import corrupted, options_of, split
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from vae import Vae

import fisherae as fae
from fisherae.data.corruptions import CORRUPTIONS, LEVELS
from fisherae.evaluation.figures.files import render
from fisherae.evaluation.figures.style import line_styles, plain_axes
from fisherae.files import write_atomically

SHOWN = ("noise", "fog", "zigzag")
CLASSIFIERS: dict[str, Any] = {
    "linear probe": LogisticRegression(max_iter=1000),
    "5 nearest neighbours": KNeighborsClassifier(5),
}


def accuracies(epochs: int) -> dict[tuple[str, str, str], list[float]]:
    """By corruption, classifier and features: the accuracy at each level."""
    train, test, y_train, y_test = split()
    features = {
        "PCA": PCA(8, random_state=0),
        "VAE": Vae(8, epochs),
        "Fisher AE": fae.FisherAutoencoder(8, epochs=epochs, random_state=0),
        "Denoising Fisher AE": fae.FisherAutoencoder(
            8, epochs=epochs, noise=0.5 / train.var(0).mean(), random_state=0
        ),
    }
    found = {}
    for feature, extractor in features.items():
        z = extractor.fit(train).transform(train)
        for classifier, kind in CLASSIFIERS.items():
            fitted = make_pipeline(StandardScaler(), kind).fit(z, y_train)
            for name in SHOWN:
                found[name, classifier, feature] = [
                    fitted.score(extractor.transform(corrupted(test, name, level)), y_test)
                    for level in LEVELS[name]
                ]
    return found


def picture(found: dict[tuple[str, str, str], list[float]]) -> Figure:
    figure = Figure(figsize=(2.9 * len(SHOWN), 5.0), layout="constrained")
    grid = figure.subplots(len(CLASSIFIERS), len(SHOWN), sharey=True)
    styles = line_styles(dict.fromkeys(feature for _, _, feature in found))
    for row, classifier in zip(grid, CLASSIFIERS, strict=True):
        row[0].set_ylabel(f"accuracy, {classifier}", fontsize=9)
        for axes, name in zip(row, SHOWN, strict=True):
            for feature, style in styles.items():
                axes.plot(LEVELS[name], found[name, classifier, feature], label=feature, **style)
            axes.set_ylim(0, 1)
            axes.set_xlabel(CORRUPTIONS[name].label, fontsize=9)
            plain_axes(axes)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    found = accuracies(options.epochs)
    for (name, classifier, feature), values in found.items():
        listed = "  ".join(f"{value:.3f}" for value in values)
        print(f"{name:8}{classifier:22}{feature:26}{listed}")
    write_atomically(options.out / "robust_features.png", render(picture(found), "png"))


if __name__ == "__main__":
    main()
