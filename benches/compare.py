#!/usr/bin/env python3
"""Trains the same MaskNet with Rankmill and PyTorch side by side and compares both with the matrix products alone.

One run prints one table and keeps it under benches/results/. See benches/README.md.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.15.0"
# Largest relative difference of any of the first losses. The systems sum in different orders, now and then a ReLU falls to the other
# side for it, and Adam magnifies that: up to 1.4e-4 was seen between correct programs, PyTorch's own two modes among them.
LOSS_TOLERANCE = 5e-4
ROWS = {"small": 1024, "large": 4096}
FLOOR, RANKMILL = "products alone", "Rankmill"
DEFAULT, TUNED = "PyTorch default", "PyTorch tuned"


class Peer:
    """A program that measures a window whenever it is told to."""

    def __init__(self, command, threads):
        environment = dict(os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.speeds = []
        self.losses = self.answer()["losses"]

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read().strip().splitlines()[-1:] or "no message")
        return json.loads(line)

    def window(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.answer()["samples_per_second"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def python_with_torch(options, work):
    """The interpreter that runs PyTorch: the given one, or that of a virtual environment made once."""
    if options.python:
        return options.python
    folder = work / "venv"
    python = folder / "bin" / "python"
    marker = folder / TORCH
    if not marker.exists():
        note(f"installing {TORCH} into {folder} (several gigabytes, once)")
        venv.create(folder, with_pip=True, clear=True)
        run([python, "-m", "pip", "install", "--quiet", TORCH, "numpy"])
        marker.touch()
    return python


def run(command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def output(command):
    return run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()


def note(text):
    print(text, file=sys.stderr, flush=True)


def build():
    """Builds the Rust programs and gives their folder."""
    for package, example in (("rankmill-kernels", "gemm_floor"), ("rankmill-train", "train_speed")):
        run(["cargo", "build", "--release", "--locked", "-p", package, "--example", example], cwd=ROOT)
    metadata = json.loads(output(["cargo", "metadata", "--format-version", "1", "--no-deps"]))
    return Path(metadata["target_directory"]) / "release" / "examples"


def commands(examples, python, dump, size, threads):
    """What takes turns, in order: name and command line."""
    own = ["--size", size, "--threads", threads, "--follow"]
    torch = [python, ROOT / "benches" / "pytorch_masknet.py", "--dump", dump, "--threads", threads]
    tuned = ["--precision", "medium"]
    return {
        FLOOR: [examples / "gemm_floor", *own],
        RANKMILL: [examples / "train_speed", *own],
        f"{TUNED}, eager": [*torch, *tuned],
        f"{TUNED}, compiled": [*torch, *tuned, "--compile"],
        f"{DEFAULT}, eager": [*torch],
        f"{DEFAULT}, compiled": [*torch, "--compile"],
    }


def measure(options, examples, python, dump, size, threads):
    """Speeds of each window by name, and the largest relative difference of each one's losses from Rankmill's."""
    peers, failures = {}, []
    for name, command in commands(examples, python, dump, size, threads).items():
        note(f"{size}, {threads} threads: starting {name}")
        try:
            peers[name] = Peer([str(part) for part in command], threads)
        except RuntimeError as error:
            if name in (FLOOR, RANKMILL):
                raise
            failures.append(f"{size}, {threads} threads: {name} does not run here: {error}")
    names = list(peers)
    for peer in peers.values():
        peer.window(options.seconds)
    for turn in range(options.windows):
        # Every other round goes backwards, so that nobody always follows the same neighbour.
        for name in names if turn % 2 == 0 else reversed(names):
            peers[name].speeds.append(peers[name].window(options.seconds))
    note(f"{size}, {threads} threads: " + ", ".join(f"{name} {statistics.median(peers[name].speeds):.0f}" for name in names))
    for peer in peers.values():
        peer.close()
    own = peers[RANKMILL].losses
    differences = {}
    for name, peer in peers.items():
        if name not in (FLOOR, RANKMILL):
            differences[name] = max(abs(a - b) / abs(a) for a, b in zip(own, peer.losses, strict=True))
    return {name: peer.speeds for name, peer in peers.items()}, differences, failures


def cell(values):
    """Median and range of the windows, in thousands of samples per second."""
    return f"{statistics.median(values) / 1e3:.1f} k ({min(values) / 1e3:.1f} to {max(values) / 1e3:.1f})"


def better(speeds, prefix):
    """The faster of eager and compiled by median: its name's end and its speeds."""
    found = [(name.removeprefix(f"{prefix}, "), values) for name, values in speeds.items() if name.startswith(prefix)]
    return max(found, key=lambda entry: statistics.median(entry[1]), default=None)


def table(results):
    """One line for each size and number of threads; samples per second, median of the windows with their range."""
    lines = [
        f"| size | threads | {FLOOR} | {RANKMILL} | of the products | {TUNED} | {RANKMILL} / it | {DEFAULT} | {RANKMILL} / it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (size, threads), speeds in results.items():
        floor, own = speeds[FLOOR], speeds[RANKMILL]
        cells = [size, str(threads), cell(floor), cell(own), f"{statistics.median(own) / statistics.median(floor):.2f}"]
        for prefix in (TUNED, DEFAULT):
            found = better(speeds, prefix)
            if found:
                cells += [f"{cell(found[1])}, {found[0]}", f"{statistics.median(own) / statistics.median(found[1]):.2f}"]
            else:
                cells += ["-", "-"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def all_medians(results):
    for (size, threads), speeds in results.items():
        yield f"  - {size}, {threads} threads: " + "; ".join(f"{name} {cell(values)}" for name, values in speeds.items())


def machine():
    """Model of the processor and the instruction sets that matter."""
    model, flags = platform.processor() or platform.machine(), ""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        entries = dict(line.split(":", 1) for line in cpuinfo.read_text().split("\n\n")[0].splitlines() if ":" in line)
        entries = {key.strip(): value.strip() for key, value in entries.items()}
        model = entries.get("model name", model)
        if "cpu family" in entries:
            model += f" (family {entries['cpu family']} model {entries.get('model', '?')})"
        known = entries.get("flags", "").split()
        flags = ", ".join(flag for flag in ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16") if flag in known)
    return f"{model}, {os.cpu_count()} cores, {flags}"


def versions(python):
    torch = output([python, "-c", "import torch, numpy; print(f'torch {torch.__version__}, numpy {numpy.__version__}')"])
    compiler = output(["rustc", "--version"])
    try:
        commit = output(["git", "describe", "--always", "--dirty"])
    except (OSError, subprocess.CalledProcessError):
        commit = "unknown"
    return f"commit {commit}; {compiler}; Python {platform.python_version()}, {torch}"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    parser.add_argument("--windows", type=int, default=11, help="measured windows of each system; one more warms it up")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a window")
    parser.add_argument("--python", type=Path, help="an interpreter that has torch and numpy; default: an environment made under --work")
    parser.add_argument("--work", type=Path, default=ROOT / "target" / "bench", help="folder for that environment and the batches")
    parser.add_argument("--output", type=Path, help="file of the table; default: benches/results/training-DATE.md")
    return parser.parse_args()


def main():
    options = arguments()
    options.work.mkdir(parents=True, exist_ok=True)
    python = python_with_torch(options, options.work)
    examples = build()
    now = datetime.datetime.now(datetime.timezone.utc)
    results, differences, failures = {}, {}, []
    for size in options.sizes:
        dump = options.work / f"{size}.safetensors"
        run([examples / "train_speed", "--size", size, "--dump", dump])
        for threads in options.threads:
            speeds, differing, failed = measure(options, examples, python, dump, size, threads)
            failures += failed
            for name, difference in differing.items():
                differences[size, threads, name] = difference
                if not difference <= LOSS_TOLERANCE:
                    failures.append(f"{size}, {threads} threads: losses of {name} differ by {difference:.1e}: its time does not count")
                    del speeds[name]
            results[size, threads] = speeds
        dump.unlink()
    worst = max(differences.values(), default=float("nan"))
    command = "python3 benches/compare.py " + " ".join(sys.argv[1:])
    report = [
        f"# Training speed, {now:%Y-%m-%d %H:%M} UTC",
        "",
        *table(results),
        "",
        f"- Command: `{command.strip()}`",
        f"- Machine: {machine()}",
        f"- Versions: {versions(python)}",
        f"- Windows: {options.windows} of {options.seconds} s for each system, taking turns.",
        f"- Losses of the first 20 steps differ from Rankmill's by at most {worst:.1e} (allowed: {LOSS_TOLERANCE:.0e}).",
        "- Everything that was measured:",
        *all_medians(results),
        *(f"- **{failure}**" for failure in failures),
    ]
    text = "\n".join(report) + "\n"
    target = options.output or ROOT / "benches" / "results" / f"training-{now:%Y-%m-%d-%H%M}.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    print(text)
    note(f"kept as {target}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
