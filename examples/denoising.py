"""Denoising: what is left of the noise after encoding and decoding.

PCA, a VAE and the Fisher AE learn eight features of clean digits, and reconstruct noisy ones; a
denoising Fisher AE has seen noise, of variances up to the largest here, while it learned. Refined,
they search on from their encoder's answer.

    python examples/denoising.py               writes denoising.png beside this file
"""

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from digits import Rows, corrupted, options_of, split
from sklearn.decomposition import PCA
from vae import Vae

import fisherae as fae
from fisherae.evaluation.figures import image_grid
from fisherae.evaluation.figures.files import render
from fisherae.files import write_atomically

VARIANCES = (0.0, 0.05, 0.1, 0.2, 0.5)
SHOWN, IMAGES = 0.1, 16


def main(arguments: Sequence[str] | None = None) -> None:
    options = options_of(arguments)
    train, test, _, _ = split()
    denoisers = {
        "PCA": PCA(8, random_state=0),
        "VAE": Vae(8, options.epochs),
        "Fisher AE": fae.FisherAutoencoder(8, epochs=options.epochs, random_state=0),
        "Denoising Fisher AE": fae.FisherAutoencoder(
            8, epochs=options.epochs, noise=max(VARIANCES) / train.var(0).mean(), random_state=0
        ),
    }
    for denoiser in denoisers.values():
        denoiser.fit(train)
    for name in ("VAE", "Fisher AE", "Denoising Fisher AE"):
        refined = denoisers[f"{name}, refined"] = copy(denoisers[name])
        refined.refine = True

    def error(images: Rows) -> float:
        return float(np.square(images - test).mean())

    noisy = {variance: corrupted(test, "noise", variance) for variance in VARIANCES}
    print(f"{'mean squared error':28}" + "".join(f"{variance:9g}" for variance in VARIANCES))
    print(f"{'noisy':28}" + "".join(f"{error(noisy[variance]):9.4f}" for variance in VARIANCES))
    rows = {"clean": test, "noisy": noisy[SHOWN]}
    for name, denoiser in denoisers.items():
        answers = {
            variance: denoiser.inverse_transform(denoiser.transform(images))
            for variance, images in noisy.items()
        }
        print(f"{name:28}" + "".join(f"{error(answers[v]):9.4f}" for v in VARIANCES))
        rows[f"{name}: MSE {error(answers[SHOWN]):.3f}"] = answers[SHOWN]
    images = [torch.from_numpy(row[:IMAGES]).view(-1, 1, 8, 8) for row in rows.values()]
    title = f"noise of variance {SHOWN:g}"
    write_atomically(
        options.out / "denoising.png", render(image_grid(images, list(rows), title=title), "png")
    )


if __name__ == "__main__":
    main()
