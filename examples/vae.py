"""A VAE with the networks and optimiser of `FisherAutoencoder`: the loss is all that differs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.utils import clip_grad_norm_

import fisherae as fae
from fisherae.networks import mlp


class Vae:
    """Posterior means and reconstructions in the units of the data, as the estimator has them."""

    def __init__(self, latent_dim: int = 8, epochs: int = 50, seed: int = 0):
        self.latent_dim, self.epochs, self.seed = latent_dim, epochs, seed
        self.refine = False

    def fit(self, X: NDArray[np.float64]) -> "Vae":
        torch.manual_seed(self.seed)
        self.mean, self.scale = X.mean(0), float(np.sqrt(X.var(0).mean()))
        features = (X.shape[1],)
        self.model = fae.Autoencoder(
            mlp.encoder(features, self.latent_dim, hidden=(256, 128)),
            mlp.decoder(features, self.latent_dim, hidden=(128, 256), output="linear"),
            fae.StandardNormal(self.latent_dim),
            fae.GaussianLikelihood(0.1, learned=True),
        )
        objective = fae.ElboObjective(self.model)
        optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)
        x = self.standardized(X)
        for _ in range(self.epochs):
            for batch in torch.split(x[torch.randperm(len(x))], 128):
                optimizer.zero_grad()
                objective(batch).total.backward()
                clip_grad_norm_(objective.parameters(), 10.0)
                optimizer.step()
        self.model.eval()
        return self

    @torch.no_grad()
    def transform(self, X: NDArray[np.float64]) -> NDArray[np.float64]:
        model = fae.refined(self.model) if self.refine else self.model
        means: NDArray[np.float64] = model.encode(self.standardized(X)).mean.double().numpy()
        return means

    @torch.no_grad()
    def inverse_transform(self, Z: NDArray[np.float64]) -> NDArray[np.float64]:
        decoded = self.model.decode(torch.from_numpy(Z).float()).mean
        pixels: NDArray[np.float64] = self.mean + self.scale * decoded.double().numpy()
        return pixels

    def standardized(self, X: NDArray[np.float64]) -> torch.Tensor:
        return torch.from_numpy((X - self.mean) / self.scale).float()
