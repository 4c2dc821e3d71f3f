"""Rows of an S3-compatible server and of a web server, over connections that break off: the same batches as from disk.

    python3.11 -m venv venv && venv/bin/pip install -r tests/storage/requirements.txt
    venv/bin/python tests/storage/run.py [--release]

moto stands in for S3. In front of it, and of a server of plain files, is a proxy that closes most connections after a random number of
bytes. The rows are made up, enough for several requests of each file.
"""

import argparse
import functools
import gzip
import http.server
import json
import logging
import os
import pathlib
import random
import re
import socket
import subprocess
import tempfile
import threading

import boto3
import pyarrow.csv
import pyarrow.parquet
from moto.server import ThreadedMotoServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
CONFIG = ROOT / "examples" / "masknet_on_movielens.config"
BUCKET = "rows"
COLUMNS = "label user_id movie_id rating gender age job_id zip_id title genres year".split()


class Proxy(threading.Thread):
    """Hands connections on to a port; breaks off most of those that carry many bytes, after a random number of them."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.target = port
        self.random = random.Random(7)
        self.broken = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.target))
            limit = self.random.choice([2_000_000, 1_000_000, 300_000, 50_000_000])
            threading.Thread(target=self.pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, limit), daemon=True).start()

    def pump(self, source, sink, limit):
        passed = 0
        try:
            while data := source.recv(65536):
                passed += len(data)
                if limit is not None and passed > limit:
                    self.broken += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Ranges(http.server.SimpleHTTPRequestHandler):
    """Python's server of files, with single ranges."""

    def log_message(self, *_):
        pass

    def send_head(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = pathlib.Path(self.translate_path(self.path))
        if not wanted or not path.is_file():
            return super().send_head()
        start, end = int(wanted[1]), int(wanted[2])
        size = path.stat().st_size
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {start}-{min(end, size - 1)}/{size}")
        self.send_header("Content-Length", str(min(end, size - 1) - start + 1))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        self.wfile.write(path.read_bytes()[start : end + 1])


def run(command, **environment):
    found = subprocess.run([str(part) for part in command], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | environment)
    assert found.returncode == 0, command
    return found.stdout


def build(release):
    profile = ["--release"] if release else []
    run(["cargo", "build", "--locked", *profile, "-p", "rankmill-data", "--features", "cloud", "--example", "fingerprint"])
    return ROOT / "target" / ("release" if release else "debug") / "examples" / "fingerprint"


def write_rows(folder, count):
    """Rows of the layout of MovieLens."""
    numbers = random.Random(1)
    for part in range(3):
        lines = []
        for _ in range(count):
            user, movie = numbers.randrange(6041), numbers.randrange(3953)
            genres = "|".join(numbers.sample(["Action", "Comedy", "Drama", "War", "Thriller"], numbers.randrange(1, 4)))
            fields = [user % 2, user, movie, 1 + movie % 5, user % 2, user % 7, user % 21, f"{user:05}", f"Film {movie} ", genres, 1950 + movie % 50]
            lines.append("\t".join(map(str, fields)) + "\n")
        (folder / "data" / f"part-{part}").write_text("".join(lines))
    (folder / "data" / "_SUCCESS").write_text("")
    (folder / "packed").mkdir()
    (folder / "packed" / "rows.gz").write_bytes(gzip.compress((folder / "data" / "part-0").read_bytes(), 1))
    table = pyarrow.csv.read_csv(
        folder / "data" / "part-1",
        pyarrow.csv.ReadOptions(column_names=COLUMNS),
        pyarrow.csv.ParseOptions(delimiter="\t"),
        pyarrow.csv.ConvertOptions(column_types={name: "string" for name in COLUMNS[-4:]}),
    )
    pyarrow.parquet.write_table(table, folder / "packed" / "rows.parquet", row_group_size=30_000, compression="none", use_dictionary=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", action="store_true", help="build with optimizations")
    parser.add_argument("--rows", type=int, default=100_000, help="rows of each of the three files")
    options = parser.parse_args()
    fingerprint = build(options.release)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    moto.start()
    _, moto_port = moto.get_host_and_port()
    proxy = Proxy(moto_port)
    proxy.start()
    environment = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ALLOW_HTTP": "true",
    }
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "data").mkdir()
        write_rows(folder, options.rows)
        upload(folder, f"http://127.0.0.1:{moto_port}")
        handler = functools.partial(Ranges, directory=folder)
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        web_proxy = Proxy(web.server_address[1])
        web_proxy.start()
        bucket, site = f"s3://{BUCKET}", f"http://127.0.0.1:{web_proxy.port}"
        cases = [
            ("a key", folder / "data" / "part-1", f"{bucket}/data/part-1"),
            ("a pattern", folder / "data" / "part-*", f"{bucket}/data/part-*"),
            ("a pattern of folders", folder / "d*" / "part-[02]", f"{bucket}/d*/part-[02]"),
            ("a folder", folder / "data", f"{bucket}/data"),
            ("gzip", folder / "packed" / "rows.gz", f"{bucket}/packed/rows.gz"),
            ("Parquet", folder / "packed" / "rows.parquet", f"{bucket}/packed/rows.parquet"),
            ("a web server", folder / "data" / "part-2", f"{site}/data/part-2"),
        ]
        for name, local, remote in cases:
            expected, found = (json.loads(run([fingerprint, CONFIG, path], **environment)) for path in (local, remote))
            assert expected == found and expected["rows"] > 0, (name, expected, found)
            print(f"{name:22} {found['rows']:>9,} rows  {found['fingerprint']}  same")
        for path, problem in [(f"{bucket}/none.csv", "NoFile"), ("gs://b/x", "expected s3://")]:
            refused = subprocess.run([fingerprint, CONFIG, path], stderr=subprocess.PIPE, text=True, env=os.environ | environment)
            assert refused.returncode != 0 and problem in refused.stderr, refused.stderr
        print(f"connections broken off: {proxy.broken} of S3, {web_proxy.broken} of the web server")
        assert proxy.broken > 0 and web_proxy.broken > 0
    moto.stop()


def upload(folder, endpoint):
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret")
    client.create_bucket(Bucket=BUCKET)
    for path in folder.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), BUCKET, str(path.relative_to(folder)))


if __name__ == "__main__":
    main()
