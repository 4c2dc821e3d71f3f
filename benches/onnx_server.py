"""ONNX Runtime's side of the comparison of servers: a model that `rankmill export` wrote, behind the leanest Python servers there are, or
called in the same process.

What it is given to be fast: requests in columns, the fields of the user given once; the ids of every value that occurs, ready in arrays
and dictionaries (a value that is not known would be hashed in Python, and is an error here); orjson; one NumPy call for each feature.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnxruntime
import orjson

from serving_requests import messages

sys.path.append(str(Path(__file__).resolve().parent.parent / "docs" / "export"))
from rankmill_features import Features  # noqa: E402

JSON = "application/json"


class Scorer:
    """From the body of a request to that of its answer."""

    def __init__(self, model, values, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        features = Features.of(self.session)
        known = json.loads(Path(values).read_text())
        self.columns = [Column(features, feature, known) for feature in features.features]

    def feed(self, body):
        request = orjson.loads(body)
        rows = max(len(value) for value in request.values() if isinstance(value, list))
        return {column.name: column.ids(request[column.field], rows) for column in self.columns}

    def run(self, feed):
        return self.session.run(["probs"], feed)[0]

    def answer(self, body):
        return orjson.dumps({"probs": self.run(self.feed(body))}, option=orjson.OPT_SERIALIZE_NUMPY)


class Column:
    """The ids of a feature for every value of its field."""

    def __init__(self, features, feature, known):
        (self.field,) = feature["inputs"]
        values = known[self.field]
        ((self.name, table),) = features.columns(feature, [{self.field: str(value)} for value in values]).items()
        self.is_number = isinstance(values[0], int)
        if self.is_number:
            self.table = np.full((max(values) + 1, table.shape[1]), -1, np.int64)
            self.table[values] = table
        else:
            self.table = table
            self.places = {value: place for place, value in enumerate(values)}

    def ids(self, value, rows):
        if isinstance(value, list):
            return self.table[value if self.is_number else [self.places[text] for text in value]]
        return np.repeat(self.table[[value if self.is_number else self.places[value]]], rows, axis=0)


def settings():
    """What the servers' own processes are told through the environment: model, values, threads of a call."""
    return os.environ["ONNX_MODEL"], os.environ["ONNX_VALUES"], int(os.environ["ONNX_THREADS"])


SCORER = Scorer(*settings()) if "ONNX_MODEL" in os.environ else None


async def rsgi(_, protocol):
    """Granian's own interface."""
    protocol.response_bytes(200, [("content-type", JSON)], SCORER.answer(await protocol()))


async def asgi(scope, receive, send):
    """uvicorn's interface."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    body = SCORER.answer(b"".join(parts))
    head = [(b"content-type", JSON.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


def wsgi(environ, start_response):
    """The interface of FastWSGI and of Granian's threads."""
    body = SCORER.answer(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
    start_response("200 OK", [("Content-Type", JSON), ("Content-Length", str(len(body)))])
    return [body]


def serve(kind, port, processes):
    """Runs a server until it is killed."""
    name = Path(__file__).stem
    if kind in ("granian", "granian-threads"):
        from granian import Granian

        threads = {"interface": "rsgi"} if kind == "granian" else {"interface": "wsgi", "blocking_threads": 2}
        target = f"{name}:{'rsgi' if kind == 'granian' else 'wsgi'}"
        Granian(target, address="127.0.0.1", port=port, workers=processes, log_enabled=False, **threads).serve()
    elif kind == "uvicorn":
        import uvicorn

        uvicorn.run(f"{name}:asgi", port=port, workers=processes, loop="uvloop", http="httptools", log_level="error", access_log=False)
    elif kind == "fastwsgi":
        import fastwsgi

        fastwsgi.run(wsgi_app=wsgi, host="127.0.0.1", port=port, loglevel=0)


def window(inputs, work, seconds, callers):
    """So many threads call again and again: calls a second, and their latencies in milliseconds."""
    latencies, started = [], time.perf_counter()

    def call(first):
        number = first * len(inputs) // callers
        while time.perf_counter() - started < seconds:
            begin = time.perf_counter()
            work(inputs[number % len(inputs)])
            latencies.append((time.perf_counter() - begin) * 1e3)
            number += 1

    threads = [threading.Thread(target=call, args=(first,)) for first in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    cuts = statistics.quantiles(latencies, n=100, method="inclusive")
    return {"per_second": round(len(latencies) / elapsed, 2), "p50": round(cuts[49], 4), "p99": round(cuts[98], 4)}


def in_process(bodies, from_ids, callers):
    """Answers windows as the client of the servers does."""
    if from_ids:
        inputs, work = [SCORER.feed(body) for body in bodies], SCORER.run
    else:
        inputs, work = bodies, SCORER.answer
    print(json.dumps({"requests": len(inputs)}), flush=True)
    for line in sys.stdin:
        print(json.dumps(window(inputs, work, float(line), callers)), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["granian", "granian-threads", "uvicorn", "fastwsgi", "in-process"])
    parser.add_argument("--port", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--bodies", help="for in-process: bodies of requests, each behind its length")
    parser.add_argument("--from-ids", action="store_true", help="for in-process: call with ids that are ready")
    parser.add_argument("--callers", type=int, default=1, help="for in-process: threads that call")
    options = parser.parse_args()
    if options.kind == "in-process":
        in_process(messages(Path(options.bodies).read_bytes()), options.from_ids, options.callers)
    else:
        serve(options.kind, options.port, options.processes)


if __name__ == "__main__":
    main()
