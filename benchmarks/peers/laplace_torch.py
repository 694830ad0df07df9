"""laplace-torch's full Laplace of the last layer, and the Gaussian of the test records' logits.

Run by `benchmarks.laplace` under a Python that has torch and laplace-torch. Reads the features, the
mode and the prior precisions that it was given, so that both approximate the same posterior.
"""

import importlib
import os
import sys

import numpy as np

from benchmarks.peers.worker import serve


def main(path: str, batch: int) -> None:
    """Serves runs on the records in `path`.npz, and leaves the last answer in `path`.torch.npz."""
    torch, data = (importlib.import_module(name) for name in ("torch", "torch.utils.data"))
    laplace = importlib.import_module("laplace")
    with np.load(f"{path}.npz") as given:
        x, label, test, theta, precision = (
            torch.from_numpy(given[name])
            for name in ("features", "label", "test", "theta", "precision")
        )
    torch.set_num_threads(os.cpu_count() or 1)
    layer = torch.nn.Linear(theta.shape[1], theta.shape[0], bias=False)
    with torch.no_grad():
        layer.weight.copy_(theta)
    model = torch.nn.Sequential(torch.nn.Identity(), layer)
    loader = data.DataLoader(data.TensorDataset(x, label), batch_size=batch)

    def run() -> None:
        found = laplace.Laplace(
            model,
            "classification",
            subset_of_weights="last_layer",
            hessian_structure="full",
            prior_precision=precision.ravel(),
        )
        found.fit(loader)
        parts = [found._glm_predictive_distribution(rows) for rows in test.split(batch)]
        mean, covariance = (torch.cat(part) for part in zip(*parts, strict=True))
        shrink = torch.sqrt(1 + torch.pi / 8 * covariance.diagonal(dim1=1, dim2=2))
        prob = torch.softmax(mean / shrink, dim=1)
        np.savez(f"{path}.torch.npz", mean=mean, covariance=covariance, prob=prob)

    serve(run)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
