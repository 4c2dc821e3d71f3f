"""Whether all ways to a score agree: `rankmill predict`, `rankmill eval`, the server in every form of request, and ONNX Runtime.

    python3 -m venv venv && venv/bin/pip install -r tests/clients/requirements.txt
    venv/bin/python tests/clients/agreement.py --rankmill target/release/rankmill --rows movies_test_data --train movies_train_data

ROWS and TRAIN are files in the layout of examples/masknet_on_movielens.config, such as `rankmill data movielens-1m` writes, plain or .zst.
10,000 of the rows are taken, of which one in twenty loses a value and one in twenty gets one that training has not seen. `--model` uses a
trained model and needs no TRAIN.

Probabilities and logits of predict and of the server must have the same bits; those of ONNX Runtime may differ by 1e-6 (logits, which
have no bound, by 1e-5 of their size). `eval` tells figures and no scores: its exact AUC and its calibration must be those of the scores
of predict.
"""

import argparse
import csv
import io
import json
import math
import pathlib
import random
import subprocess
import sys
import tempfile
import urllib.request

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "export"))

FIELDS = "label user_id movie_id rating gender age job_id zip_id title genres year".split()
INPUTS = ["user_id", "movie_id", "gender", "age", "job_id", "genres", "year"]
BATCH = 500
TOLERANCE, LOGIT_TOLERANCE = 1e-6, 1e-5


def run(rankmill, *arguments):
    command = [rankmill, "--json", "--log-level", "error", *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def read_lines(path, count):
    if str(path).endswith(".zst"):
        text = subprocess.run(["zstd", "-dcq", path], check=True, capture_output=True).stdout.decode()
    else:
        text = pathlib.Path(path).read_text()
    return [line.split("\t") for line in text.splitlines()[:count]]


def change(rows):
    """Takes values away and puts in others that training has not seen; the label and the rating stay."""
    chance = random.Random(7)
    unseen = {
        "user_id": lambda: str(chance.randrange(1_000_000, 2_000_000)),
        "movie_id": lambda: str(chance.randrange(1_000_000, 2_000_000)),
        "gender": lambda: "7", "age": lambda: "99", "job_id": lambda: "-5",
        "genres": lambda: chance.choice(["Opera", "Drama|Opera|||War", "|", "Śląsk|戏曲", "x" * 200]),
        "year": lambda: chance.choice(["3000", "MCMXCIX", "19 99"]),
    }
    counts = {"missing": 0, "unseen": 0}
    for row in rows:
        kind = {0: "missing", 1: "unseen"}.get(chance.randrange(20))
        if kind:
            field = chance.choice(INPUTS)
            row[FIELDS.index(field)] = "" if kind == "missing" else unseen[field]()
            counts[kind] += 1
    return counts


def objects(rows):
    return [dict(zip(FIELDS[1:], row[1:])) for row in rows]


class Server:
    def __init__(self, rankmill, model):
        command = [rankmill, "--json", "serve", f"ctr={model}", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--log-format", "json"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.http, self.grpc = json.loads(self.process.stdout.readline())["addresses"]

    def post(self, path, body, content_type="application/json", **headers):
        request = urllib.request.Request(f"http://{self.http}{path}", body, {"Content-Type": content_type, **headers})
        with urllib.request.urlopen(request) as answer:
            return answer.read()

    def stop(self):
        self.process.terminate()
        assert self.process.wait(60) == 0, "the server ends with exit code 0"


def in_batches(rows, ask):
    """The probabilities and logits of all rows, asked for a batch at a time."""
    parts = [ask(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    return [np.concatenate([np.asarray(part[i], np.float32) for part in parts]) for i in range(2)]


def columns_of(records):
    return [[record["probs"] for record in records], [record["logits"] for record in records]]


def server_ways(server):
    """Each form of request as a function from rows to probabilities and logits."""

    def score_json(rows):
        return columns_of(json.loads(server.post("/score", json.dumps({"rows": objects(rows)}).encode()))["scores"])

    def score_lines(rows):
        body = "\n".join(map(json.dumps, objects(rows))).encode()
        return columns_of([json.loads(line) for line in server.post("/score", body, "application/x-ndjson").splitlines()])

    def score_csv(rows):
        text = io.StringIO()
        csv.writer(text).writerows([FIELDS, *rows])
        return columns_of(list(csv.DictReader(io.StringIO(server.post("/score", text.getvalue().encode(), "text/csv").decode()))))

    def kserve(rows):
        columns = zip(*rows)
        inputs = [
            {"name": name, "shape": [len(rows)], "datatype": "BYTES", "data": column}
            for name, column in zip(FIELDS, columns) if name in INPUTS
        ]
        outputs = json.loads(server.post("/v2/models/ctr/infer", json.dumps({"inputs": inputs}).encode()))["outputs"]
        return [output["data"] for output in outputs]

    def tensorflow(rows):
        body = json.dumps({"instances": objects(rows)}).encode()
        return columns_of(json.loads(server.post("/v1/models/ctr:predict", body))["predictions"])

    def tensorflow_columns(rows):
        body = json.dumps({"inputs": dict(zip(FIELDS[1:], map(list, list(zip(*rows))[1:])))}).encode()
        outputs = json.loads(server.post("/v1/models/ctr:predict", body))["outputs"]
        return [outputs["probs"], outputs["logits"]]

    ways = {
        "/score, JSON": score_json, "/score, JSON lines": score_lines, "/score, CSV": score_csv, "KServe, JSON": kserve,
        "TensorFlow Serving, rows": tensorflow, "TensorFlow Serving, columns": tensorflow_columns,
    }
    try:
        import pyarrow
    except ImportError:
        print("NOT RUN: Arrow, since there is no pyarrow")
    else:
        def score_arrow(rows):
            table = pyarrow.table({name: list(column) for name, column in zip(FIELDS, zip(*rows))})
            sink = pyarrow.BufferOutputStream()
            with pyarrow.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table)
            answer = server.post("/score", sink.getvalue().to_pybytes(), "application/vnd.apache.arrow.stream")
            table = pyarrow.ipc.open_stream(answer).read_all()
            return [table["probs"].to_numpy(), table["logits"].to_numpy()]

        ways["/score, Arrow"] = score_arrow
    for name, module in (("KServe, HTTP, binary", "http"), ("KServe, gRPC", "grpc")):
        try:
            triton = __import__(f"tritonclient.{module}", fromlist=["*"])
        except ImportError:
            print(f"NOT RUN: {name}, since there is no tritonclient")
            continue
        client = triton.InferenceServerClient(server.http if module == "http" else server.grpc)

        def infer(rows, triton=triton, client=client):
            inputs = []
            for name, column in zip(FIELDS, zip(*rows)):
                if name in INPUTS:
                    tensor = triton.InferInput(name, [len(rows)], "BYTES")
                    tensor.set_data_from_numpy(np.array([text.encode() for text in column], np.object_))
                    inputs.append(tensor)
            answer = client.infer("ctr", inputs)
            return [answer.as_numpy("probs"), answer.as_numpy("logits")]

        ways[name] = infer
    return ways


def exact_auc(labels, scores):
    """Pairs in the right order, ties as half a pair, as a share of all pairs."""
    order = np.argsort(scores, kind="stable")
    labels, scores = labels[order].astype(np.int64), scores[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    positives, rows = np.cumsum(labels)[ends], ends + 1
    positives, rows = np.diff(positives, prepend=0), np.diff(rows, prepend=0)
    negatives = rows - positives
    below = np.cumsum(negatives) - negatives
    return float((2 * positives * below + positives * negatives).sum()) / float(2 * positives.sum() * negatives.sum())


def check_eval(figures, labels, probs):
    probs = probs.astype(np.float64)
    expected = {"auc_exact": exact_auc(labels, probs), "calibration": math.fsum(probs) / labels.sum()}
    for name, value in expected.items():
        assert abs(figures[name] - value) <= 1e-12 * value, f"eval says {name} {figures[name]!r}, the scores of predict {value!r}"
        print(f"{'eval, ' + name:28} {value:.12f}, as the scores of predict have it")


def check_onnx(rankmill, model, folder, rows, expected):
    try:
        import onnxruntime
        from rankmill_features import Features
    except ImportError as error:
        print(f"NOT RUN: ONNX Runtime ({error})")
        return
    file = folder / "model.onnx"
    run(rankmill, "export", model, "--format", "onnx", "--output", file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    features = Features.of(session)
    found = in_batches(rows, lambda part: session.run(["probs", "logits"], features.feed(part)))
    differences = [np.abs(a.astype(np.float64) - b) for a, b in zip(found, expected)]
    sizes = np.maximum(1.0, np.abs(expected[1].astype(np.float64)))
    probability, logit = differences[0].max(), (differences[1] / sizes).max()
    print(f"{'ONNX Runtime ' + onnxruntime.__version__:28} probabilities differ by {probability:.1e}, logits by {logit:.1e} of their size")
    assert probability <= TOLERANCE and logit <= LOGIT_TOLERANCE


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rankmill", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--train")
    parser.add_argument("--model")
    parser.add_argument("--count", type=int, default=10_000)
    arguments = parser.parse_args()
    rankmill, model = arguments.rankmill, arguments.model
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        if model is None:
            model = folder / "model"
            config = ROOT / "examples" / "masknet_on_movielens.config"
            steps = ["--set", "train_config.num_steps=1000"]
            paths = ["--set", f'train_input_path="{arguments.train}"', "--set", f'eval_input_path="{arguments.rows}"']
            run(rankmill, "train", config, "--model-dir", model, *steps, *paths)
        rows = read_lines(arguments.rows, arguments.count)
        counts = change(rows)
        print(f"{len(rows)} rows, {counts['missing']} with a missing value, {counts['unseen']} with an unseen one")
        file = folder / "rows"
        file.write_text("".join("\t".join(row) + "\n" for row in rows))
        run(rankmill, "predict", model, "--input", file, "--output", folder / "scores.csv")
        with open(folder / "scores.csv") as scores:
            expected = [np.array(column, np.float32) for column in columns_of(list(csv.DictReader(scores)))]
        assert all(len(column) == len(rows) for column in expected) and np.ptp(expected[0]) > 0.1
        check_eval(run(rankmill, "eval", model, "--input", file)["metrics"], np.array([row[0] == "1" for row in rows]), expected[0])
        server = Server(rankmill, model)
        for name, ask in server_ways(server).items():
            found = in_batches(rows, ask)
            for a, b in zip(found, expected):
                np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32), err_msg=name)
            print(f"{name:28} the bits of predict")
        server.stop()
        check_onnx(rankmill, model, folder, rows, expected)


main()
