"""`python -m tests.speed.probe`: the linear probe's batched problem beside scikit-learn, class by
class, on made-up features of the embedded size; then how it grows with images."""

import time

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression as Reference

from methods._logistic_regression import OPTIMUM, RANKING, LogisticRegression
from tests.speed._side_by_side import peak_mb

CANDIDATES = 10.0 ** np.arange(-6, 7, 2)


def world(n: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Standardised features, labels, and half of the cells known."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(n, width)) * np.linspace(1, 0.05, width)
    x = (latent - latent.mean(0)) / latent.std(0)
    logits = latent @ rng.normal(size=(width, classes)) + 2 * rng.normal(size=(n, classes))
    known = rng.random((n, classes)) < 0.5
    return torch.from_numpy(x), torch.from_numpy(logits > 4), torch.from_numpy(known)


def main() -> None:
    torch.set_num_threads(1)
    x, y, known = world(1800, 128, 20)
    one = torch.ones(1, 1, dtype=torch.float64)

    def ours() -> torch.Tensor:
        return LogisticRegression(x[None], y[None], known[None]).solve(one, None, OPTIMUM)[0, 0]

    def plain(solver: str) -> np.ndarray:
        rows = []
        for c in range(y.shape[1]):
            some = known[:, c].numpy()
            model = Reference(C=1.0, tol=1e-8, max_iter=10_000, solver=solver)
            model.fit(x.numpy()[some], y.numpy()[some, c])
            rows.append(np.append(model.coef_[0], model.intercept_))
        return np.array(rows)

    def timed(function):
        times = []
        for _ in range(3):
            start = time.process_time()
            result = function()
            times.append(time.process_time() - start)
        return sorted(times)[1], result

    fast, solution = timed(ours)
    full = torch.cat([x, torch.ones(len(x), 1)], 1)
    for solver in ("lbfgs", "newton-cholesky"):
        slow, expected = timed(lambda solver=solver: plain(solver))
        error = (full @ (solution - torch.from_numpy(expected)).T).abs().max()
        print(
            f"one C, 1,800 images, 128 features, 20 classes: scikit-learn's {solver} {slow:.3f} s, "
            f"ours {fast:.3f} s, ratio {slow / fast:.1f}, largest difference of a logit {error:.0e}"
        )
    c = torch.from_numpy(CANDIDATES)[None]
    for n in (1800, 5400, 16200):
        x, y, known = world(n, 128, 20)
        problem = LogisticRegression(x[None], y[None], known[None])

        def sweep(problem: LogisticRegression = problem) -> torch.Tensor:
            return problem.solve(c, None, RANKING)

        took, _ = timed(sweep)
        print(f"{len(CANDIDATES)} candidates, {n} images: {took:.3f} s, {peak_mb(sweep):.0f} MB")


if __name__ == "__main__":
    main()
