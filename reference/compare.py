"""Writes crates/train/tests/data/compare.json: two models' scores and what a comparison of them has to say.

Independent of Rankmill: components of DeLong by the definition, over all pairs of rows; the bootstrap with NumPy's own random numbers, with
enough resamples that only their noise, which is written too, tells the two apart. Needs NumPy.

    python reference/compare.py
"""

import json
import math
from pathlib import Path

import numpy as np

SEED = 20261125
ROWS, USERS, RESAMPLES = 600, 60, 40_000
Z = 1.959963984540054


def delong(labels, scores):
    positive, negative = labels > 0.5, labels < 0.5
    first, second = [], []
    for score in scores:
        wins = score[positive][:, None] - score[negative][None, :]
        psi = (wins > 0) + 0.5 * (wins == 0)
        first.append(psi.mean(axis=1))
        second.append(psi.mean(axis=0))
    covariance = np.cov(first) / positive.sum() + np.cov(second) / negative.sum()
    return [float(x.mean()) for x in first], covariance


def auc(labels, scores):
    wins = scores[labels > 0.5][:, None] - scores[labels < 0.5][None, :]
    return ((wins > 0) + 0.5 * (wins == 0)).mean()


def p_normal(difference, variance):
    return math.erfc(abs(difference) / math.sqrt(2 * variance))


def interval(value, variance):
    reach = Z * math.sqrt(variance)
    return [value, value - reach, value + reach]


def gauc(labels, scores, users, weigh, random):
    groups = [np.flatnonzero(users == user) for user in np.unique(users)]
    groups = [rows for rows in groups if 0 < labels[rows].sum() < len(rows)]
    aucs = np.array([[auc(labels[rows], score[rows]) for score in scores] for rows in groups])
    weights = np.array([weigh(labels[rows]) for rows in groups], dtype=float)
    value = weights @ aucs / weights.sum()
    drawn = random.integers(0, len(groups), size=(RESAMPLES, len(groups)))
    sums = np.stack([(weights[drawn] * aucs[drawn, model]).sum(axis=1) for model in range(2)], axis=1)
    samples = sums / weights[drawn].sum(axis=1)[:, None]
    difference = samples[:, 1] - samples[:, 0]
    columns = {"a": samples[:, 0], "b": samples[:, 1], "difference": difference}
    values = {"a": value[0], "b": value[1], "difference": value[1] - value[0]}
    result = {name: [values[name], *np.percentile(columns[name], [2.5, 97.5])] for name in columns}
    result["deviation"] = {name: columns[name].std() for name in columns}
    result["p_value"] = min(1.0, 2 * min((difference <= 0).mean(), (difference >= 0).mean()))
    result["users"] = len(groups)
    return result


def mean_loss(losses):
    a, b = losses
    estimates = {name: interval(x.mean(), x.var(ddof=1) / len(x)) for name, x in [("a", a), ("b", b), ("difference", b - a)]}
    difference = b - a
    return {**estimates, "p_value": p_normal(difference.mean(), difference.var(ddof=1) / len(difference))}


def main():
    random = np.random.default_rng(SEED)
    users = np.sort(random.integers(0, USERS, ROWS))
    quality = random.normal(size=ROWS) + random.normal(size=USERS)[users]
    labels = (random.random(ROWS) < 1 / (1 + np.exp(-quality))).astype(np.float32)
    noisy = lambda sd: 1 / (1 + np.exp(-(quality + sd * random.normal(size=ROWS))))
    # Two digits, so that many scores tie.
    scores = [np.round(noisy(1.5), 2).astype(np.float32), np.round(noisy(1.2), 2).astype(np.float32)]
    aucs, covariance = delong(labels, scores)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    clipped = [np.clip(score.astype(float), 1e-7, 1 - 1e-7) for score in scores]
    entropies = [-np.where(labels > 0.5, np.log(p), np.log1p(-p)) for p in clipped]
    squares = [(labels.astype(float) - score.astype(float)) ** 2 for score in scores]
    weighings = {"mean": lambda _: 1, "mean_by_sample_num": len, "mean_by_positive_num": np.sum}
    result = {
        "script": "reference/compare.py",
        "numpy": np.__version__,
        "seed": SEED,
        "labels": labels.tolist(),
        "scores": [score.tolist() for score in scores],
        "users": users.tolist(),
        "auc_exact": {
            "a": interval(aucs[0], covariance[0, 0]),
            "b": interval(aucs[1], covariance[1, 1]),
            "difference": interval(aucs[1] - aucs[0], variance),
            "p_value": p_normal(aucs[1] - aucs[0], variance),
        },
        "log_loss": mean_loss(entropies),
        "mean_squared_error": mean_loss(squares),
        "gauc": {name: gauc(labels, scores, users, weigh, random) for name, weigh in weighings.items()},
    }
    path = Path(__file__).parent.parent / "crates/train/tests/data/compare.json"
    path.write_text(json.dumps(result, default=float) + "\n")


if __name__ == "__main__":
    main()
