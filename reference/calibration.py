"""Isotonic and Platt calibration by scikit-learn.

    python reference/calibration.py > crates/model/tests/data/calibration.json

The seed is fixed; the committed numbers were written with scikit-learn 1.9. Platt's is that of CalibratedClassifierCV, on log odds.
"""

import json

import numpy as np
import sklearn
from sklearn.calibration import _SigmoidCalibration
from sklearn.isotonic import IsotonicRegression

random = np.random.default_rng(20261125)


def case(count, digits, weighted):
    """Probabilities that are too extreme, some of them equal, and labels by the right ones."""
    truth = random.beta(1, 4, count)
    odds = 1.8 * np.log(truth / (1 - truth)) + 0.4
    probability = np.round(1 / (1 + np.exp(-odds)), digits).astype(np.float32)
    label = (random.random(count) < truth).astype(np.float32)
    weight = random.integers(1, 4, count).astype(np.float32) if weighted else np.ones(count, np.float32)
    return probability, label, weight


def main():
    cases = []
    for count, digits, weighted in ((12, 1, False), (300, 2, False), (2000, 6, False), (500, 3, True)):
        probability, label, weight = case(count, digits, weighted)
        at = np.linspace(0, 1, 41).astype(np.float32)
        isotonic = IsotonicRegression(out_of_bounds="clip").fit(np.float64(probability), np.float64(label), np.float64(weight))
        clipped = np.clip(np.float64(probability), 1e-7, 1 - 1e-7)
        platt = _SigmoidCalibration().fit(np.log(clipped / (1 - clipped)), np.float64(label), np.float64(weight))
        clipped = np.clip(np.float64(at), 1e-7, 1 - 1e-7)
        columns = {
            "probability": probability, "label": label, "weight": weight, "at": at,
            "isotonic": isotonic.predict(np.float64(at)), "platt": platt.predict(np.log(clipped / (1 - clipped))),
        }
        cases.append({name: [round(float(value), 9) for value in column] for name, column in columns.items()})
    print(json.dumps({"script": "reference/calibration.py", "scikit-learn": sklearn.__version__, "cases": cases}))


if __name__ == "__main__":
    main()
