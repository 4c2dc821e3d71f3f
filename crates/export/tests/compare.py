"""Compares exported models with what Rankmill computed: `compare.py FOLDER`, with the cases in FOLDER/cases.json.

A case names a model file and the arrays that are fed to it; or rows that `rankmill_features.py` makes arrays of, whose ids are then
compared, too. Exit code 77: a package is missing.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "docs" / "export"))

try:
    import numpy as np
    import onnx
    import onnxruntime

    from rankmill_features import Features
except ImportError as error:
    print(error)
    sys.exit(77)

# Sums in another order, and other approximations of exp and tanh. Logits have no bound, and either side's rounding leaves them up to
# 4e-6 from what double precision gives (three layer norms in a row).
TOLERANCE = 1e-6
LOGIT_TOLERANCE = 1e-5


def arrays(session, case):
    wanted = [entry.name for entry in session.get_inputs()]
    if "rows" in case:
        features = Features(session.get_modelmeta().custom_metadata_map["rankmill.features"])
        feed = features.feed(case["rows"])
        for name, expected in case["ids"].items():
            found = [[i for i in row if i >= 0] for row in feed[name].tolist()]
            assert found == expected, f"{case['name']}: {name} differs: {first_difference(found, expected)}"
        chosen = Features.of(session).feed(case["rows"])
        assert sorted(chosen) == sorted(wanted), f"{case['name']}: {sorted(chosen)}"
        return chosen
    inputs = {name: case["inputs"][name] for name in wanted}
    return {name: np.array(array["values"], array["type"]).reshape(array["shape"]) for name, array in inputs.items()}


def first_difference(found, expected):
    return next((row, a, b) for row, (a, b) in enumerate(zip(found, expected)) if a != b)


def main(folder):
    cases = json.loads((folder / "cases.json").read_text())["cases"]
    worst = (0.0, "-")
    failed = []
    for case in cases:
        path = str(folder / case["file"])
        onnx.checker.check_model(path, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feed = arrays(session, case)
        for name, expected in case["outputs"].items():
            (found,) = session.run([name], feed)
            found, expected = found.astype(np.float64).reshape(-1), np.array(expected, np.float64)
            if found.shape != expected.shape:
                failed.append(f"{case['name']}/{name}: {found.shape}, not {expected.shape}")
                continue
            error = float(np.max(np.abs(found - expected) / np.maximum(1.0, np.abs(expected))))
            worst = max(worst, (error, f"{case['name']}/{name}"))
            if not error <= (LOGIT_TOLERANCE if "logits" in name else TOLERANCE):
                failed.append(f"{case['name']}/{name}: {error:.2e}")
            if case.get("must_vary") and not np.ptp(expected) > 0.0:
                failed.append(f"{case['name']}/{name}: all expected numbers are equal, which proves nothing")
    print(f"{len(cases)} cases, ONNX Runtime {onnxruntime.__version__}, largest error {worst[0]:.2e} ({worst[1]})")
    if failed:
        sys.exit("\n".join(failed))


main(Path(sys.argv[1]))
