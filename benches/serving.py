#!/usr/bin/env python3
"""Throughput and latency of `rankmill serve` beside ONNX Runtime behind the leanest Python servers and ONNX Runtime called in-process:
requests of 200 candidates over loopback, the client on the same cores.

One run prints one report and keeps it under benches/results/. See benches/README.md.
"""

import argparse
import csv
import datetime
import json
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time
from pathlib import Path

import common
from common import ROOT, note
from serving_requests import Case, messages, probabilities, single

# FastWSGI asks setuptools for `pkg_resources`, which later versions do not have.
PACKAGES = ["numpy", "onnx==1.23.2", "onnxruntime==1.32.0", "orjson", "granian", "uvicorn", "uvloop", "httptools", "fastwsgi", "setuptools<81"]
SHOWN = ["onnxruntime", "numpy", "orjson", "granian", "uvicorn", "fastwsgi"]
# ONNX Runtime agrees to 1e-6 as a rule; see docs/export.md.
TOLERANCE = 2e-6
PEER, IN_PROCESS, FROM_IDS = "ONNX Runtime, best Python server", "ONNX Runtime in-process, from bodies", "ONNX Runtime in-process, from ids"
BLIND, SHARED = "/score, all fields in each row, sharing off", "/score, context once"
# Servers for Python: kind, processes, threads of a call of ONNX Runtime.
SERVERS = [
    ("granian", 1, 2), ("granian", 2, 1), ("granian-threads", 1, 1), ("uvicorn", 1, 2), ("uvicorn", 2, 1), ("fastwsgi", 1, 2),
]  # fmt: skip


class Server:
    """A program that listens, ended by SIGTERM."""

    def __init__(self, command, environment=None, port=None):
        # Workers of their own must end with it.
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT / "benches", start_new_session=True
        )
        if port is None:
            report = json.loads(self.process.stdout.readline())
            self.http, self.grpc = report["addresses"]
        else:
            self.http = f"127.0.0.1:{port}"
            try:
                wait_for(port, self.process)
            except RuntimeError:
                self.close()
                raise

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process.stdout.close()


def wait_for(port, process):
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                time.sleep(1)
                return
        time.sleep(0.1)
    raise RuntimeError("the server does not listen")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rankmill(program, *arguments):
    common.run([program, "--log-level", "warn", *arguments], stdout=subprocess.DEVNULL, cwd=ROOT)


def prepare_model(program, name, work, steps):
    """Trains for a few steps (what is learnt does not matter), and exports; gives the folder of the model and the ONNX file."""
    folder, data = work / name, work / "data"
    if not (data / "movies_test_data").exists():
        rankmill(program, "data", "synth", "movielens", "--rows", 200_000, "--output", data)
    text = (ROOT / "examples" / "masknet_on_movielens.config").read_text()
    if name == "towers":
        text = text.split("model_config {")[0] + (ROOT / "benches" / "serving.config").read_text()
    config = work / f"{name}.config"
    config.write_text(text)
    inputs = ["--train-input", data / "movies_train_data", "--eval-input", data / "movies_test_data"]
    rankmill(program, "train", config, "--model-dir", folder, "--overwrite", *inputs, "--set", f"train_config.num_steps={steps}")
    rankmill(program, "export", folder, "--format", "onnx", "--output", work / f"{name}.onnx")
    return folder, work / f"{name}.onnx"


def predicted(program, model, work, rows):
    """Probabilities by `rankmill predict`, in the order of the rows."""
    lines, scores = work / "rows", work / "scores.csv"
    lines.write_text("".join("\t".join(row) + "\n" for row in rows))
    rankmill(program, "predict", model, "--input", lines, "--output", scores)
    with scores.open() as file:
        return single([float(record["probs"]) for record in csv.DictReader(file)])


class Run:
    """The systems that take turns on one model, and how far each one's probabilities are from those of `rankmill predict`."""

    def __init__(self, options, work, load, python, program):
        self.options, self.work, self.load, self.python, self.program = options, work, load, python, program
        self.servers, self.peers, self.differences, self.failures = [], {}, {}, []

    def file(self, name, messages):
        path = self.work / name
        path.write_bytes(b"".join(struct.pack("<I", len(message)) + message for message in messages))
        return path

    def client(self, name, protocol, address, requests, connections=None):
        place = len(self.peers)
        answers = self.work / f"answers-{place}"
        requests = self.file(f"requests-{place}", requests)
        connections = connections or self.options.connections
        peer = common.Peer([self.load, protocol, address, requests, connections, answers], 1)
        self.check(name, [probabilities(body) for body in messages(answers.read_bytes())])
        return peer

    def check(self, name, found):
        found = [value for answer in found for value in answer]
        difference = max(abs(a - b) for a, b in zip(found, self.expected, strict=True))
        allowed = TOLERANCE if "ONNX" in name else 0.0
        if difference > allowed and "bf16" not in name:
            self.failures.append(f"{name}: probabilities differ by {difference:.1e}: its time does not count")
        self.differences[name] = difference

    def serve(self, model, *arguments):
        command = [self.program, "--json", "--log-level", "error", "serve", f"ctr={model}", "--threads", self.options.threads]
        server = Server([*command, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *arguments])
        self.servers.append(server)
        return server

    def python_server(self, kind, processes, threads, environment):
        port = free_port()
        command = [self.python, "onnx_server.py", kind, "--port", port, "--processes", processes]
        return Server(command, dict(environment, ONNX_THREADS=str(threads)), port)

    def best_python_server(self, case, environment):
        """Tries all, each for a moment, and starts the one with the highest throughput again."""
        trials = {}
        for kind, processes, threads in SERVERS:
            name = f"{kind}, {processes} x {threads} threads"
            try:
                server = self.python_server(kind, processes, threads, environment)
            except RuntimeError as error:
                self.failures.append(f"{name} does not run here: {error}")
                continue
            try:
                peer = self.client(f"ONNX Runtime, {name}", "http", server.http, case.http("/score", case.columns()))
                peer.window(self.options.seconds / 2)
                trials[kind, processes, threads] = peer.window(self.options.seconds)["per_second"]
                peer.close()
            except (RuntimeError, ValueError) as error:
                self.failures.append(f"{name}: {error}")
            finally:
                server.close()
        note(", ".join(f"{name}: {speed:.0f}/s" for name, speed in trials.items()))
        best = max(trials, key=trials.get)
        self.trials = trials
        server = self.python_server(*best, environment)
        self.servers.append(server)
        return server

    def measure(self, name):
        options = self.options
        model, onnx = prepare_model(self.program, name, self.work, options.steps)
        case = Case(self.work / "data", options.requests, options.rows)
        self.expected = predicted(self.program, model, self.work, case.rows)
        values = self.work / "values.json"
        values.write_text(json.dumps(case.values))
        environment = dict(os.environ, ONNX_MODEL=str(onnx), ONNX_VALUES=str(values), ONNX_THREADS=str(options.threads))
        try:
            self.start(case, model, environment)
            return common.take_turns(self.peers, options.windows, options.seconds)
        finally:
            for server in self.servers:
                server.close()

    def start(self, case, model, environment):
        python = self.best_python_server(case, environment)
        own, blind = self.serve(model), self.serve(model, "--sharing", "off")
        infer = "/v2/models/ctr/infer"
        clients = [
            ("KServe REST, JSON", "http", own.http, case.http(infer, case.kserve())),
            ("KServe REST, binary tensors", "http", own.http, case.binary(infer)),
            ("KServe gRPC", "grpc", own.grpc, case.grpc()),
            (SHARED, "http", own.http, case.http("/score", case.score(with_context=True))),
            ("/score, all fields in each row", "http", own.http, case.http("/score", case.score(with_context=False))),
            (BLIND, "http", blind.http, case.http("/score", case.score(with_context=False))),
        ]
        if common.has_bf16():
            bf16 = self.serve(model, "--precision", "bf16")
            clients.append(("KServe REST, binary tensors, bf16", "http", bf16.http, case.binary(infer)))
        clients.append((PEER, "http", python.http, case.http("/score", case.columns())))
        for client in clients:
            self.peers[client[0]] = self.client(*client)
        bodies = self.file("bodies", case.columns())
        for name, extra in ((IN_PROCESS, []), (FROM_IDS, ["--from-ids"])):
            command = [self.python, ROOT / "benches" / "onnx_server.py", "in-process", "--bodies", bodies, *extra]
            self.peers[name] = common.Peer(command, self.options.threads, environment)


def median(windows, figure):
    return statistics.median(window[figure] for window in windows)


def table(found, rows):
    """One line for each system."""
    peer, p99 = median(found[PEER], "per_second"), median(found[PEER], "p99")
    lines = ["| system | requests/s (lowest-highest) | rows/s | p50 ms | p99 ms | throughput / Python server | p99 / Python server |"]
    lines.append("|---" * 7 + "|")
    for name, windows in found.items():
        speeds = [window["per_second"] for window in windows]
        speed = statistics.median(speeds)
        cells = [name, f"{speed:,.0f} ({min(speeds):,.0f}-{max(speeds):,.0f})", f"{speed * rows / 1e3:,.1f} k"]
        cells += [f"{median(windows, 'p50'):.2f}", f"{median(windows, 'p99'):.2f}"]
        cells += [f"{speed / peer:.2f}", f"{median(windows, 'p99') / p99:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["masknet", "towers"], default=["masknet", "towers"])
    parser.add_argument("--rows", type=int, default=200, help="candidates of a request")
    parser.add_argument("--requests", type=int, default=64, help="different requests")
    parser.add_argument("--connections", type=int, default=4, help="connections, each with one request under way")
    parser.add_argument("--threads", type=int, default=2, help="threads that score")
    parser.add_argument("--windows", type=int, default=7, help="measured windows of each system; one more warms it up")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a window")
    parser.add_argument("--steps", type=int, default=200, help="training steps of the models")
    parser.add_argument("--python", type=Path, help="an interpreter that has the packages; default: an environment made under --work")
    parser.add_argument("--rankmill", type=Path, help="the program; default: built here")
    parser.add_argument("--client", type=Path, help="the example `load` of rankmill-serve; default: built here")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "bench", help="folder for that environment, models and rows")
    parser.add_argument("--output", type=Path, help="file of the report; default: benches/results/serving-DATE.md")
    return parser.parse_args()


def main():
    options = arguments()
    load = (options.client or common.build([("rankmill-serve", "load")]) / "load").resolve()
    program = (options.rankmill or common.build_rankmill()).resolve()
    python = common.python_with(PACKAGES, options)
    now = datetime.datetime.now(datetime.timezone.utc)
    report, failures = [f"# Serving, {now:%Y-%m-%d %H:%M} UTC", ""], []
    for name in options.models:
        work = options.work.resolve() / "serving"
        work.mkdir(parents=True, exist_ok=True)
        run = Run(options, work, load, python, program)
        found = run.measure(name)
        kind, processes, threads = max(run.trials, key=run.trials.get)
        report += [f"## {name}", "", *table(found, options.rows), ""]
        report += [f"The best Python server: {kind}, {processes} process(es), {threads} thread(s) a call. All that were tried, requests/s:"]
        report += [", ".join(f"{' '.join(map(str, key))}: {speed:,.0f}" for key, speed in run.trials.items()) + ".", ""]
        gain = median(found[SHARED], "per_second") / median(found[BLIND], "per_second")
        report += [f"Candidates that share their user fields against the same rows scored blindly: {gain:.2f} times the throughput.", ""]
        worst = ", ".join(f"{system} {difference:.1e}" for system, difference in run.differences.items())
        report += [f"Largest differences from the probabilities of `rankmill predict`: {worst}.", ""]
        failures += [f"{name}: {failure}" for failure in run.failures]
    report += [
        f"Requests of {options.rows} candidates of one user, {options.requests} different ones, over {options.connections} connections with",
        "one request under way each; client, server and scoring share the cores. ONNX Runtime's requests are columns in JSON, the user's",
        "fields once. Probabilities alone are asked for over KServe's protocols and given by the Python server.",
        "",
        *common.circumstances(python, SHOWN),
        f"- Windows: {options.windows} of {options.seconds} s for each system, taking turns; medians over the windows.",
        *(f"- **{failure}**" for failure in failures),
    ]
    common.keep(report, options.output or common.results_file("serving", now))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
