"""The same rows as CSV, JSON lines, Parquet and TFRecord, written by Python's csv and json, pyarrow and TensorFlow: the batches of
features and the predictions must have the same bits.

    python3.11 -m venv venv && venv/bin/pip install -r tests/formats/requirements.txt
    venv/bin/python tests/formats/run.py --ratings movies_train_data [--rows 100000] [--release]

The rows are those of `rankmill data movielens-1m` or `rankmill data synth movielens` (plain or .zst), with fields added that are made of
the rows before: the mean ratings of the user (FLOAT) and of the film (DOUBLE) so far, both as a list, the last films that the user
liked, and a weight; all of them are missing where there are none, and so is the age 0. `rows.config` has a feature for every kind of field.
"""

import argparse
import collections
import csv
import hashlib
import json
import pathlib
import platform
import subprocess
import tempfile

import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = pathlib.Path(__file__).with_name("rows.config")
COLUMNS = "label user_id movie_id rating gender age job_id zip_id title genres year".split()
LIKED = 5


def float32(value):
    """The nearest f32 as Python's float, whose shortest text reads back to it."""
    return float(str(tf.constant(value, tf.float32).numpy()))


def lines(path, count):
    """The first lines of a file that may be compressed."""
    if path.suffix == ".zst":
        process = subprocess.Popen(["zstd", "-dc", path], stdout=subprocess.PIPE, text=True, encoding="utf-8")
        source = process.stdout
    else:
        source = path.open(encoding="utf-8", newline="")
    with source:
        for line, _ in zip(source, range(count)):
            yield line.rstrip("\n")


def read_rows(path, count):
    """Rows as Python values; None where there is none."""
    user_ratings, movie_ratings = collections.defaultdict(list), collections.defaultdict(list)
    liked = collections.defaultdict(lambda: collections.deque(maxlen=LIKED))
    mean = lambda ratings: sum(ratings) / len(ratings) if ratings else None
    rows = []
    for line in lines(path, count):
        row = dict(zip(COLUMNS, line.split("\t")))
        user, movie, rating = int(row["user_id"]), int(row["movie_id"]), int(row["rating"])
        user_mean, movie_mean = mean(user_ratings[user]), mean(movie_ratings[movie])
        rows.append(
            {
                "label": int(row["label"]),
                "user_id": user,
                "movie_id": movie,
                "gender": int(row["gender"]),
                "age": int(row["age"]) or None,
                "job_id": row["job_id"],
                "zip_id": row["zip_id"],
                "title": row["title"],
                "genres": row["genres"].split("|"),
                "year": float(row["year"]) if row["year"] else None,
                "user_mean": None if user_mean is None else float32(user_mean),
                "movie_mean": movie_mean,
                "means": [float32(value) for value in (user_mean, movie_mean) if value is not None],
                "liked": list(liked[user]),
                "weight": None if user_mean is None else float32(1 / user_mean),
            }
        )
        user_ratings[user].append(rating)
        movie_ratings[movie].append(rating)
        if rating > 3:
            liked[user].append(movie)
    return rows


def text(value):
    if value is None:
        return ""
    if isinstance(value, list):
        return "|".join(text(element) for element in value)
    return repr(value) if isinstance(value, float) else str(value)


def write_csv(rows, path):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t", lineterminator="\n").writerows([text(value) for value in row.values()] for row in rows)


def write_json(rows, path):
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


SCHEMA = pa.schema(
    [
        ("label", pa.int32()),
        ("user_id", pa.int64()),
        ("movie_id", pa.int32()),
        ("gender", pa.int8()),
        ("age", pa.int64()),
        ("job_id", pa.string()),
        ("zip_id", pa.string()),
        ("title", pa.string()),
        ("genres", pa.list_(pa.string())),
        ("year", pa.float64()),
        ("user_mean", pa.float32()),
        ("movie_mean", pa.float64()),
        ("means", pa.list_(pa.float32())),
        ("liked", pa.list_(pa.int64())),
        ("weight", pa.float32()),
    ]
)


def write_parquet(rows, path, **options):
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, **options)


def feature(name, value):
    # TensorFlow's examples have no doubles.
    if name == "movie_mean" or isinstance(value, str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text(value).encode()]))
    values = value if isinstance(value, list) else [value]
    if values and isinstance(values[0], str):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[element.encode() for element in values]))
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def write_tf_record(rows, path, compression=None):
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for row in rows:
            features = {name: feature(name, value) for name, value in row.items() if value is not None}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


FILES = {
    "rows.csv": write_csv,
    "rows.jsonl": write_json,
    "snappy.parquet": lambda rows, path: write_parquet(rows, path),
    "plain.parquet": lambda rows, path: write_parquet(
        rows, path, compression="none", use_dictionary=False, data_page_version="2.0", row_group_size=9973
    ),
    "zstd.parquet": lambda rows, path: write_parquet(rows, path, compression="zstd"),
    "rows.tfrecord": write_tf_record,
    "rows.tfrecord.gz": lambda rows, path: write_tf_record(rows, path, "GZIP"),
}


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout


def build(options):
    profile = ["--release"] if options.release else []
    run("cargo", "build", "--locked", *profile, "-p", "rankmill-data", "--example", "fingerprint")
    if not options.features_only:
        run("cargo", "build", "--locked", *profile, "-p", "rankmill")
    folder = ROOT / "target" / ("release" if options.release else "debug")
    return folder / "rankmill", folder / "examples" / "fingerprint"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ratings", type=pathlib.Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--release", action="store_true", help="build with optimizations")
    parser.add_argument("--features-only", action="store_true", help="compare no predictions, which takes the whole program to build")
    options = parser.parse_args()
    rankmill, fingerprint = build(options)
    rows = read_rows(options.ratings, options.rows)
    missing = {name: sum(row[name] in (None, []) for row in rows) for name in rows[0]}
    print(f"{len(rows)} rows; missing: {({name: count for name, count in missing.items() if count})}")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for name, write in FILES.items():
            write(rows, folder / name)
        model = folder / "model"
        if not options.features_only:
            train = ["train", CONFIG, "--train-input", folder / "rows.csv", "--eval-input", folder / "rows.jsonl", "--model-dir", model]
            run(rankmill, "--log-level", "warn", *train)
        found = {}
        for name in FILES:
            batches = json.loads(run(fingerprint, CONFIG, folder / name))
            assert batches["rows"] == len(rows), name
            scores = folder / f"{name}.scores.csv"
            if not options.features_only:
                run(rankmill, "--log-level", "warn", "predict", model, "--input", folder / name, "--output", scores)
            predictions = scores.read_bytes() if scores.exists() else b""
            found[name] = (batches["fingerprint"], predictions)
            size = (folder / name).stat().st_size
            told = f"predictions {hashlib.sha256(predictions).hexdigest()[:16]}" if predictions else ""
            print(f"{name:18} {size:>12,} bytes  features {batches['fingerprint']}  {told}")
        assert len(set(found.values())) == 1, "the files differ"
        print("all the same")
    print(f"pyarrow {pa.__version__}, TensorFlow {tf.__version__}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
