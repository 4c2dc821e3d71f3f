#!/usr/bin/env python3
"""Trains the same MaskNet with Rankmill and PyTorch side by side and compares both with the matrix products alone; other models, too, with
their products.

One run prints one table and keeps it under benches/results/. See benches/README.md.
"""

import statistics
import sys

import common
from common import ROOT, note

PACKAGES = ["torch==2.15.0", "numpy"]
EXAMPLES = [("rankmill-train", "train_speed")]
# Of benches/networks, besides MaskNet.
NETWORKS = ["deepfm", "dcn", "dlrm", "fibinet", "din", "mmoe"]
# Largest relative difference of any of the first losses. The systems sum in different orders, now and then a ReLU falls to the other
# side for it, and Adam magnifies that: up to 1.4e-4 was seen between correct programs, PyTorch's own two modes among them.
LOSS_TOLERANCE = 5e-4
ROWS = {"small": 1024, "large": 4096}
# With factors rounded to bfloat16, in different places.
BF16_TOLERANCE = 2e-2
FLOOR, FLOOR_ONEDNN, RANKMILL = "products alone", "products by oneDNN", "Rankmill"
DEFAULT, TUNED, SPARSE = "PyTorch default", "PyTorch tuned", "PyTorch sparse"
RANKMILL_BF16, TORCH_BF16 = "Rankmill bf16", "PyTorch bf16"
NEEDED = (FLOOR, RANKMILL)
WITHOUT_LOSSES = (FLOOR, FLOOR_ONEDNN, RANKMILL)
FUXICTR = (
    "FuxiCTR's MaskNet is absent: the package `fuxictr` (2.3.10) on PyPI has the library and two groups of models, LongCTR and multitask; "
    "MaskNet is in the project's repository alone."
)


def commands(examples, python, dump, size, threads):
    """What takes turns, in order: name and command line."""
    own = ["--size", size, "--threads", threads, "--follow"]
    torch = [python, ROOT / "benches" / "pytorch_masknet.py", "--dump", dump, "--threads", threads]
    tuned = ["--precision", "medium"]
    products = [python, ROOT / "benches" / "pytorch_products.py", "--size", size, "--threads", threads]
    every = {
        FLOOR: [examples / "train_speed", *own, "--products"],
        FLOOR_ONEDNN: products,
        RANKMILL: [examples / "train_speed", *own],
        f"{TUNED}, eager": [*torch, *tuned],
        f"{TUNED}, compiled": [*torch, *tuned, "--compile"],
        f"{SPARSE}, eager": [*torch, *tuned, "--sparse"],
        f"{SPARSE}, compiled": [*torch, *tuned, "--sparse", "--compile"],
        f"{DEFAULT}, eager": [*torch],
        f"{DEFAULT}, compiled": [*torch, "--compile"],
    }
    if common.has_bf16():
        every |= {
            RANKMILL_BF16: [examples / "train_speed", *own, "--precision", "bf16"],
            f"{TORCH_BF16}, eager": [*torch, *tuned, "--bf16"],
            f"{TORCH_BF16}, compiled": [*torch, *tuned, "--bf16", "--compile"],
        }
    return every


def measure(options, examples, python, dump, size, threads):
    """Speeds of each window by name, and the largest relative difference of each one's losses from Rankmill's."""
    peers, failures = {}, []
    for name, command in commands(examples, python, dump, size, threads).items():
        note(f"{size}, {threads} threads: starting {name}")
        try:
            peers[name] = common.Peer(command, threads)
        except RuntimeError as error:
            if name in NEEDED:
                raise
            failures.append(f"{size}, {threads} threads: {name} does not run here: {error}")
    windows = common.take_turns(peers, options.windows, options.seconds)
    speeds = {name: [window["samples_per_second"] for window in of_peer] for name, of_peer in windows.items()}
    note(f"{size}, {threads} threads: " + ", ".join(f"{name} {statistics.median(values):.0f}" for name, values in speeds.items()))
    own = peers[RANKMILL].first["losses"]
    differences = {}
    for name, peer in peers.items():
        if name not in WITHOUT_LOSSES:
            differences[name] = max(abs(a - b) / abs(a) for a, b in zip(own, peer.first["losses"], strict=True))
    return speeds, differences, failures


def measure_network(options, examples, network, size, threads):
    """Speeds of each window of a model's steps and of its products alone."""
    own = [examples / "train_speed", "--network", network, "--size", size, "--threads", threads, "--follow"]
    peers = {FLOOR: common.Peer([*own, "--products"], threads), RANKMILL: common.Peer(own, threads)}
    windows = common.take_turns(peers, options.windows, options.seconds)
    return {name: [window["samples_per_second"] for window in of_peer] for name, of_peer in windows.items()}


def cell(values):
    """Median and range of the windows, in thousands of samples per second."""
    if not values:
        return "-"
    return f"{statistics.median(values) / 1e3:.1f} k ({min(values) / 1e3:.1f} to {max(values) / 1e3:.1f})"


def better(speeds, prefix):
    """The faster of eager and compiled by median: its name's end and its speeds."""
    found = [(name.removeprefix(f"{prefix}, "), values) for name, values in speeds.items() if name.startswith(prefix)]
    return max(found, key=lambda entry: statistics.median(entry[1]), default=None)


def compared(own, speeds, prefix):
    """Cells for a system: its better mode, and how many times faster `own` is."""
    found = better(speeds, prefix)
    if not found:
        return ["-", "-"]
    return [f"{cell(found[1])}, {found[0]}" if found[0] != prefix else cell(found[1]), ratio(own, found[1])]


def ratio(a, b):
    return f"{statistics.median(a) / statistics.median(b):.2f}"


def table(results):
    """One line for each size and number of threads; samples per second, median of the windows with their range."""
    lines = [
        f"| size | threads | {FLOOR} | {FLOOR_ONEDNN} | {RANKMILL} | of the better products "
        f"| {TUNED} | {RANKMILL} / it | {SPARSE} | {RANKMILL} / it | {DEFAULT} | {RANKMILL} / it |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (size, threads), speeds in results.items():
        floors, own = [speeds[name] for name in (FLOOR, FLOOR_ONEDNN) if name in speeds], speeds[RANKMILL]
        cells = [size, str(threads), cell(speeds[FLOOR]), cell(speeds.get(FLOOR_ONEDNN)), cell(own)]
        cells += [ratio(own, max(floors, key=statistics.median))]
        for name in (TUNED, SPARSE, DEFAULT):
            cells += compared(own, speeds, name)
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def bf16_table(results):
    """The same for bfloat16 factors."""
    if not any(RANKMILL_BF16 in speeds for speeds in results.values()):
        return ["No bfloat16 here: the processor has no AVX-512 BF16."]
    lines = [
        f"| size | threads | {RANKMILL_BF16} | / {RANKMILL} | / {TUNED} (f32) | {TORCH_BF16} | {RANKMILL_BF16} / it |",
        "|---|---|---|---|---|---|---|",
    ]
    for (size, threads), speeds in results.items():
        own = speeds.get(RANKMILL_BF16)
        if own:
            cells = [size, str(threads), cell(own), ratio(own, speeds[RANKMILL]), compared(own, speeds, TUNED)[1]]
            lines.append("| " + " | ".join([*cells, *compared(own, speeds, TORCH_BF16)]) + " |")
    return lines


def networks_table(options, examples):
    """One line for each model, size and number of threads."""
    lines = [f"| model | size | threads | {FLOOR} | {RANKMILL} | of the products |", "|---|---|---|---|---|---|"]
    for network in options.networks:
        for size in options.sizes:
            for threads in options.threads:
                speeds = measure_network(options, examples, network, size, threads)
                note(f"{network}, {size}, {threads} threads: {cell(speeds[RANKMILL])}")
                cells = [network, size, str(threads), cell(speeds[FLOOR]), cell(speeds[RANKMILL]), ratio(speeds[RANKMILL], speeds[FLOOR])]
                lines.append("| " + " | ".join(cells) + " |")
    return lines


def tolerance(name):
    return BF16_TOLERANCE if "bf16" in name else LOSS_TOLERANCE


def all_medians(results):
    for (size, threads), speeds in results.items():
        yield f"  - {size}, {threads} threads: " + "; ".join(f"{name} {cell(values)}" for name, values in speeds.items())


def arguments():
    parser = common.parser(__doc__, sizes=list(ROWS), windows=11, seconds=2.0, table="training")
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=NETWORKS, help="other models")
    return parser.parse_args()


def main():
    options = arguments()
    python, examples, now = common.prepare(options, PACKAGES, EXAMPLES)
    results, differences, failures = {}, {}, []
    for size in options.sizes:
        dump = options.work / f"{size}.safetensors"
        common.run([examples / "train_speed", "--size", size, "--dump", dump])
        for threads in options.threads:
            speeds, differing, failed = measure(options, examples, python, dump, size, threads)
            failures += failed
            for name, difference in differing.items():
                differences[size, threads, name] = difference
                if not difference <= tolerance(name):
                    failures.append(f"{size}, {threads} threads: losses of {name} differ by {difference:.1e}: its time does not count")
                    del speeds[name]
            results[size, threads] = speeds
        dump.unlink()
    networks = networks_table(options, examples)
    worst = {
        kind: max((found for (*_, name), found in differences.items() if ("bf16" in name) == kind), default=float("nan"))
        for kind in (False, True)
    }
    report = [
        f"# Training speed, {now:%Y-%m-%d %H:%M} UTC",
        "",
        *table(results),
        "",
        "Factors of products rounded to bfloat16, everything else in f32:",
        "",
        *bf16_table(results),
        "",
        "Other models, with the fields of the same sizes, in f32:",
        "",
        *networks,
        "",
        *common.circumstances(python, ["torch", "numpy"]),
        f"- Windows: {options.windows} of {options.seconds} s for each system, taking turns.",
        f"- Losses of the first 20 steps differ from Rankmill's by at most {worst[False]:.1e} (allowed: {LOSS_TOLERANCE:.0e}), "
        f"in bfloat16 by at most {worst[True]:.1e} (allowed: {BF16_TOLERANCE:.0e}).",
        f"- {FUXICTR}",
        "- Everything that was measured:",
        *all_medians(results),
        *(f"- **{failure}**" for failure in failures),
    ]
    common.keep(report, options.output or common.results_file("training", now))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
