"""From `kill -9` to ready: starts `rankmill serve` again and again, and tells how long it takes and what memory it needs.

    python3 benches/restart.py target/release/rankmill MODEL [--rounds 20] [-- OPTIONS OF SERVE]

Ready is when `/v2/health/ready` says so: the files are read and checked, the golden rows score as they did, every thread has scored a
batch. Two servers run at the end of each round, so that the proportional set size (PSS) shows what they share.
"""

import argparse
import json
import re
import signal
import statistics
import subprocess
import sys
import time
import urllib.request


def start(rankmill, model, options):
    """A server that is ready, and the seconds that it took."""
    began = time.perf_counter()
    command = [rankmill, "--json", "--log-level", "error", "serve", f"ctr={model}", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    address = json.loads(process.stdout.readline())["addresses"][0]
    with urllib.request.urlopen(f"http://{address}/v2/health/ready") as answer:
        assert answer.status == 200
    return process, time.perf_counter() - began


def megabytes(process, name):
    with open(f"/proc/{process.pid}/smaps_rollup") as file:
        return int(re.search(rf"^{name}:\s+(\d+) kB", file.read(), re.M)[1]) / 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("rankmill")
    parser.add_argument("model")
    parser.add_argument("--rounds", type=int, default=20)
    # What comes after "--" is for `rankmill serve`.
    words = sys.argv[1:]
    own = words.index("--") if "--" in words else len(words)
    arguments, options = parser.parse_args(words[:own]), words[own + 1 :]
    times, resident, shared = [], [], []
    for _ in range(arguments.rounds):
        servers = []
        for _ in range(2):
            server, seconds = start(arguments.rankmill, arguments.model, options)
            servers.append(server)
            times.append(seconds)
        resident.append(megabytes(servers[0], "Rss"))
        shared.append(megabytes(servers[0], "Pss"))
        for server in servers:
            server.send_signal(signal.SIGKILL)
            server.wait()
    print(
        f"ready after {statistics.median(times):.3f} s (median of {len(times)}), {max(times):.3f} s at most; "
        f"{statistics.median(resident):.0f} MB resident, {statistics.median(shared):.0f} MB in proportion (PSS) beside a second server"
    )


main()
