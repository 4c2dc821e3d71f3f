"""Unmodified clients against a server: tritonclient over HTTP and gRPC, and schemathesis against the OpenAPI description.

    python -m venv venv && venv/bin/pip install -r tests/clients/requirements.txt
    venv/bin/python tests/clients/run.py --rankmill target/release/rankmill --model MODEL --rows ROWS

MODEL is a directory with a model of examples/masknet_on_movielens.config, ROWS a file of rows such as data/movies_test_data. The scores
of all clients must have the bits that `rankmill predict` gives the same rows.
"""

import argparse
import csv
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import numpy as np
import tritonclient.grpc
import tritonclient.http

FIELDS = "label user_id movie_id rating gender age job_id zip_id title genres year".split()
INTEGERS = {"user_id", "movie_id", "gender", "age", "job_id"}
INPUTS = ["user_id", "movie_id", "gender", "age", "job_id", "genres", "year"]


class Server:
    """A server on free ports, ended by SIGTERM."""

    def __init__(self, rankmill, model):
        command = [rankmill, "--json", "serve", f"ctr={model}", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        report = json.loads(self.process.stdout.readline())
        self.http, self.grpc = report["addresses"]
        self.version = report["models"][0]["versions"][-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, "the server ends with exit code 0"


def predicted(rankmill, model, rows):
    """Probabilities and logits by `rankmill predict`."""
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder, "scores.csv")
        command = [rankmill, "--log-level", "warn", "predict", model, "--input", rows, "--output", output]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with output.open() as file:
            return {name: np.array(column, np.float32) for name, column in columns(csv.DictReader(file)).items()}


def columns(records):
    table = {}
    for record in records:
        for name, text in record.items():
            table.setdefault(name, []).append(text)
    return table


def arrays(table, count):
    for name in INPUTS:
        if name in INTEGERS:
            yield name, "INT32", np.array(table[name][:count], np.int32)
        else:
            yield name, "BYTES", np.array([text.encode() for text in table[name][:count]], np.object_)


def check_triton(module, address, table, expected, **options):
    client = module.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("ctr")
    assert "rankmill" in str(client.get_server_metadata()) and "genres" in str(client.get_model_metadata("ctr"))
    for count in (1, 7, 200, 400):
        inputs = []
        for name, datatype, array in arrays(table, count):
            tensor = module.InferInput(name, [count], datatype)
            tensor.set_data_from_numpy(array, **options)
            inputs.append(tensor)
        outputs = [module.InferRequestedOutput(name, **({"binary_data": v for v in options.values()})) for name in ("probs", "logits")]
        answer = client.infer("ctr", inputs, outputs=outputs, request_id="r1")
        for name in ("probs", "logits"):
            np.testing.assert_array_equal(answer.as_numpy(name), expected[name][:count])
    try:
        client.infer("ctr", inputs[1:])
    except module.InferenceServerException as error:
        assert "user_id" in str(error), error
    else:
        raise AssertionError("an input is missing, and nobody says so")
    client.close()


def check_schemathesis(address, version, examples):
    # The description can't know the fields of a model, so a body that fits it may still be refused.
    with tempfile.TemporaryDirectory() as folder:
        config = pathlib.Path(folder, "schemathesis.toml")
        config.write_text(f'[parameters]\n"path.model" = "ctr"\n"path.version" = {version}\n')
        command = [
            pathlib.Path(sys.executable).with_name("schemathesis"), "--config-file", config, "run", f"http://{address}/openapi.json",
            "--max-examples", str(examples), "--phases", "examples,coverage,fuzzing", "--exclude-checks", "positive_data_acceptance",
            "--continue-on-failure", "--no-color",
        ]
        subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rankmill", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", required=True)
    parser.add_argument("--examples", type=int, default=50, help="examples of each page for schemathesis")
    arguments = parser.parse_args()
    with open(arguments.rows) as file:
        table = columns(dict(zip(FIELDS, line.rstrip("\n").split("\t"))) for line in file)
    expected = predicted(arguments.rankmill, arguments.model, arguments.rows)
    started = time.monotonic()
    with Server(arguments.rankmill, arguments.model) as server:
        print(f"ready after {time.monotonic() - started:.2f} s")
        check_triton(tritonclient.http, server.http, table, expected, binary_data=True)
        check_triton(tritonclient.http, server.http, table, expected, binary_data=False)
        check_triton(tritonclient.grpc, server.grpc, table, expected)
        print("tritonclient: the bits of prediction, over HTTP (binary and JSON) and gRPC")
        check_schemathesis(server.http, server.version, arguments.examples)
        with urllib.request.urlopen(f"http://{server.http}/metrics") as answer:
            assert answer.read().endswith(b"# EOF\n")
    print("all clients agree")


main()
