#!/usr/bin/env python3
"""Scores rows with the same MaskNet by Rankmill, ONNX Runtime and PyTorch side by side, from ids and from lines of text.

One run prints one report and keeps it under benches/results/. See benches/README.md.
"""

import statistics
import sys

import common
from common import ROOT, note

PACKAGES = ["torch==2.15.0", "numpy", "onnx==1.23.2", "onnxruntime==1.32.0"]
EXAMPLES = [("rankmill-train", "score_speed")]
TOLERANCE = 1e-5
RANKMILL, BFLOAT = "Rankmill", "Rankmill bf16"
ONNX, EAGER, COMPILED = "ONNX Runtime", "PyTorch eager", "PyTorch compiled"
IDS, LINES = "ids", "lines"


def commands(options, examples, python, dump, size, threads, batch, source):
    """What takes turns, in order: name and command line."""
    raw = ["--raw"] if source == LINES else []
    own = [examples / "score_speed", "--size", size, "--threads", threads, "--batch", batch, "--follow", *raw]
    given = ["--dump", dump, "--threads", threads, "--batch", batch]
    every = {
        RANKMILL: own,
        BFLOAT: [*own, "--precision", "bf16"],
        ONNX: [python, ROOT / "benches" / "onnx_masknet.py", *given, *raw],
    }
    if source == IDS:
        torch = [python, ROOT / "benches" / "pytorch_scoring.py", *given]
        every |= {EAGER: torch, COMPILED: [*torch, "--compile"]}
    return {name: command for name, command in every.items() if name not in options.without}


def measure(options, commands, threads, cell):
    """The windows of each system by name, and what went wrong; a system with other probabilities is left out."""
    peers, failures = {}, []
    for name, command in commands.items():
        try:
            peers[name] = common.Peer(command, threads)
        except RuntimeError as error:
            if name == RANKMILL:
                raise
            failures.append(f"{cell}: {name} does not run here: {error}")
    windows = common.take_turns(peers, options.windows, options.seconds)
    differences = {}
    own = peers[RANKMILL].first["probabilities"]
    for name, peer in peers.items():
        differences[name] = max(abs(a - b) for a, b in zip(own, peer.first["probabilities"], strict=True))
        # Factors of 8 bits are another model by design; its difference is shown and not judged.
        if name != BFLOAT and not differences[name] <= TOLERANCE:
            failures.append(f"{cell}: probabilities of {name} differ by {differences[name]:.1e}: its time does not count")
            del windows[name]
    note(f"{cell}: " + ", ".join(f"{name} {latency(found, 'p50'):.0f}" for name, found in windows.items()))
    return windows, differences, failures


def latency(windows, quantile):
    """Median of the windows, in microseconds."""
    return statistics.median(window[quantile] for window in windows)


def shown(windows, batch):
    """A system's cell: latencies, and the rows a second that the first makes."""
    p50, p99 = latency(windows, "p50"), latency(windows, "p99")
    return f"{p50:,.0f} / {p99:,.0f}, {batch / p50 * 1e3:,.1f} k"


def table(results, source):
    """One line for each size, number of threads and batch."""
    cells = {key[:3]: windows for key, windows in results.items() if key[3] == source}
    names = list(dict.fromkeys(name for windows in cells.values() for name in windows))
    others = [name for name in names if name != RANKMILL]
    header = ["size", "threads", "rows", *names, *(f"{RANKMILL} / {name}" for name in others), f"{RANKMILL} p99 / p50"]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for key, windows in cells.items():
        own = windows[RANKMILL]
        speedups = {name: latency(windows[name], "p50") / latency(own, "p50") for name in others if name in windows}
        line = [*map(str, key), *(shown(windows[name], key[2]) if name in windows else "-" for name in names)]
        line += [f"{speedups[name]:.2f}" if name in speedups else "-" for name in others]
        lines.append("| " + " | ".join([*line, f"{latency(own, 'p99') / latency(own, 'p50'):.2f}"]) + " |")
    return lines


def worst_differences(differences):
    """The largest difference of each system's probabilities."""
    worst = {}
    for found in differences:
        for name, difference in found.items():
            worst[name] = max(worst.get(name, 0.0), difference)
    return ", ".join(f"{name} {difference:.1e}" for name, difference in worst.items() if name != RANKMILL)


def arguments():
    parser = common.parser(__doc__, sizes=["small", "large"], windows=7, seconds=0.5, table="scoring")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 64, 200, 1024], help="rows of a call, from ids")
    parser.add_argument("--line-batches", nargs="*", type=int, default=[200, 1024], help="rows of a call, from lines of text")
    left = [BFLOAT, ONNX, EAGER, COMPILED]
    parser.add_argument("--without", nargs="*", choices=left, default=[BFLOAT], help="systems to leave out")
    return parser.parse_args()


def main():
    options = arguments()
    python, examples, now = common.prepare(options, PACKAGES, EXAMPLES)
    results, differences, failures = {}, [], []
    for size in options.sizes:
        dump = options.work / f"{size}-scoring.safetensors"
        common.run([examples / "score_speed", "--size", size, "--dump", dump])
        for threads in options.threads:
            for source, batches in ((IDS, options.batches), (LINES, options.line_batches)):
                for batch in batches:
                    cell = f"{size}, {threads} threads, {batch} rows, from {source}"
                    peers = commands(options, examples, python, dump, size, threads, batch, source)
                    windows, differing, failed = measure(options, peers, threads, cell)
                    results[size, threads, batch, source] = windows
                    differences.append(differing)
                    failures += failed
        dump.unlink()
    report = [f"# Scoring speed, {now:%Y-%m-%d %H:%M} UTC", ""]
    for source, title in ((IDS, "From ids"), (LINES, "From lines of text (ONNX Runtime: with Python and NumPy)")):
        if any(key[-1] == source for key in results):
            report += [f"## {title}", "", *table(results, source), ""]
    report += [
        "A cell: p50 / p99 of single calls in microseconds, rows a second at p50. Ratios are of speeds at p50, above 1 where Rankmill is",
        "faster.",
        "",
        *common.circumstances(python, ["torch", "onnxruntime", "onnx", "numpy"]),
        f"- Windows: {options.windows} of {options.seconds} s for each system, taking turns; medians over the windows.",
        f"- Probabilities differ from Rankmill's by at most: {worst_differences(differences)} (allowed: {TOLERANCE:.0e}).",
        *(f"- **{failure}**" for failure in failures),
    ]
    common.keep(report, options.output or common.results_file("scoring", now))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
