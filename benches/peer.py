"""What the Python programs of the comparison share: the weights and rows that the Rust programs dump, and the way in which latencies
are measured and answered (see score_speed.rs, which does the same).
"""

import argparse
import json
import struct
import sys
import time

import numpy as np

TYPES = {"F32": np.float32, "U32": np.uint32}
# Both as score_speed.rs has them: most batches that are cut from one of the dump's, and rows whose probabilities are shown.
PIECES = 8
CHECKED_ROWS = 256


def scoring_parser():
    """The options of all programs that score."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dump", required=True, help="file of score_speed --dump")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=200, help="rows of a batch")
    return parser


def read_safetensors(path):
    """Tensors by name, and the metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", {})
    data = np.memmap(path, np.uint8, "r", offset=8 + length)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[first:last].tobytes(), TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors, metadata


def tables(tensors, fields):
    """The embedding tables in the order of the fields."""
    return [tensors[f"input_layer/{field}_embedding/embedding_weights"] for field in fields]


def id_columns(tensors, fields, number):
    """The ids of a batch: for each field offsets and ids, int64."""
    for field in fields:
        yield tuple(tensors[f"batch/{number}/{field}/{part}"].astype(np.int64) for part in ("offsets", "ids"))


def padded(offsets, ids, padding, width=None):
    """Ids in compressed rows as a matrix, short rows filled with `padding`."""
    lengths = np.diff(offsets)
    matrix = np.full((len(lengths), width or lengths.max()), padding, np.int64)
    matrix[np.arange(matrix.shape[1]) < lengths[:, None]] = ids
    return matrix


def pieces(batches, rows):
    """Batches cut into batches of `rows` rows: first one of each, then the second ones."""
    for piece in range(min(len(batches[0]) // rows, PIECES)):
        for batch in batches:
            yield batch[piece * rows : (piece + 1) * rows]


def answer(batches, rows, score, read=np.array):
    """Shows the probabilities of the first batches, then measures a window for each line of input, a number of seconds.

    `score` takes a batch and gives the probabilities, of which `read` makes an array.
    """
    checked = batches[: -(-CHECKED_ROWS // rows)]
    probabilities = np.concatenate([np.array(read(score(batch)), np.float32).reshape(-1) for batch in checked])
    print(json.dumps({"probabilities": probabilities.tolist()}), flush=True)
    for line in sys.stdin:
        print(json.dumps(window(float(line), batches, rows, score)), flush=True)


def window(seconds, batches, rows, score):
    """The figures of single calls during so many seconds."""
    clock = time.perf_counter_ns
    latencies = []
    end = clock() + int(seconds * 1e9)
    now = number = 0
    while now < end:
        batch = batches[number]
        start = clock()
        score(batch)
        now = clock()
        latencies.append(now - start)
        number = (number + 1) % len(batches)
    p50, p99 = (float(value) / 1e3 for value in np.quantile(latencies, (0.5, 0.99), method="nearest"))
    return {"p50": round(p50, 2), "p99": round(p99, 2), "rows_per_second": round(rows / p50 * 1e6)}
