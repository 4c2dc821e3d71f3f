#!/usr/bin/env python3
"""Whole runs of `rankmill train`, from rows in files to metrics: wall time, quality, how well reading kept up, the speed of reading alone,
and memory beside what `rankmill check` expects.

    python3 benches/runs.py --config masknet_on_movielens.config --train movies_train_data --eval movies_test_data

Without these options the runs are those of the example config on as many made-up rows as MovieLens-1M has. One run prints one report and keeps it under benches/results/. See benches/README.md.
"""

import argparse
import datetime
import json
import os
import random
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import common
from common import ROOT, note

# The sizes of benches/model.rs that are larger than MovieLens; the last one has a table of 20 million rows.
FIELDS = {
    "large": [1000] * 13 + [76_500] * 26,
    "20 M rows": [20_000_000, 1000],
}
BATCH, ROWS = 4096, 60_000
EXAMPLE = ROOT / "examples" / "masknet_on_movielens.config"


def programs():
    """The release builds of `rankmill` and of the program that reads alone."""
    return common.build_rankmill(), common.build([("rankmill-data", "rows_per_second")]) / "rows_per_second"


def with_rows(rankmill, options):
    """Fills in the example config and made-up rows where none are given."""
    if options.train:
        return
    folder = ROOT / "target" / "bench" / "movielens"
    common.run([rankmill, "data", "synth", "movielens", "--rows", 739_012, "--seed", 1, "--output", folder, "--log-level", "error"])
    options.config, options.train, options.eval = EXAMPLE, folder / "movies_train_data", folder / "movies_test_data"


def timed(command):
    """The JSON that a command prints, its wall time in seconds, and its peak memory in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    result = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}")
    return json.loads(result), time.perf_counter() - start, usage.ru_maxrss * 1024


def train(rankmill, options, arguments):
    """A run in a fresh model directory: its result with `wall` and `memory`, and its record."""
    with tempfile.TemporaryDirectory() as folder:
        command = [rankmill, "train", *arguments, "--model-dir", folder, "--threads", options.threads, "--json", "--log-level", "error"]
        result, wall, memory = timed(command)
        return result | {"wall": wall, "memory": memory}, json.loads((Path(folder) / "run.json").read_text())


def movielens(rankmill, options, precision):
    """Runs over all seeds."""
    files = [options.config, "--train-input", options.train, "--eval-input", options.eval, "--precision", precision]
    runs = []
    for seed in options.seeds:
        result, record = train(rankmill, options, [*files, "--seed", seed])
        note(f"{precision}, seed {seed}: auc {result['metrics']['auc']:.4f}, {result['wall']:.1f} s")
        runs.append((result, record))
    return runs


def quality(runs, precision):
    """Lines of the table of runs, and their mean."""
    lines = []
    for result, record in runs:
        metrics, supply = result["metrics"], record["input"]
        lines.append(
            f"| {precision} | {record['seed']} | {metrics['auc']:.5f} | {metrics['auc_exact']:.5f} | {metrics['gauc']:.4f} "
            f"| {metrics['loss']:.4f} | {result['wall']:.1f} | {result['seconds']['first_step']:.2f} "
            f"| {supply['mean_ready']:.1f} of {supply['capacity']} | {supply['seconds_waited']:.2f} | {result['memory'] / 1e6:.0f} |"
        )
    mean = {name: statistics.mean(result["metrics"][name] for result, _ in runs) for name in ("auc", "auc_exact", "gauc", "loss")}
    wall = statistics.median(result["wall"] for result, _ in runs)
    spread = statistics.stdev(result["metrics"]["auc"] for result, _ in runs) if len(runs) > 1 else 0.0
    lines.append(
        f"| {precision} | mean | {mean['auc']:.5f} ± {spread:.5f} | {mean['auc_exact']:.5f} | {mean['gauc']:.4f} | {mean['loss']:.4f} "
        f"| {wall:.1f} (median) | | | | |"
    )
    return lines, mean["auc"]


def made_up(folder, sizes):
    """A config of the MaskNet of benches/model.rs over fields of those sizes, and rows for it."""
    names = [f"field_{i}" for i in range(len(sizes))]
    inputs = "".join(f"input_fields {{ input_name: '{name}' input_type: INT32 }}\n" for name in ["label", *names])
    features = "".join(
        f"features {{ input_names: '{name}' feature_type: IdFeature embedding_dim: 16 num_buckets: {size} }}\n"
        for name, size in zip(names, sizes)
    )
    group = " ".join(f"feature_names: '{name}'" for name in names)
    block = "mask_blocks { aggregation_size: 512 output_size: 256 }"
    config = folder / "made_up.config"
    config.write_text(
        f"""train_config {{
          optimizer_config {{ adam_optimizer {{ learning_rate {{ constant_learning_rate {{ learning_rate: 0.0001 }} }} }} }}
        }}
        data_config {{
          {inputs} label_fields: 'label' batch_size: {BATCH} num_epochs: 1 input_type: CSVInput separator: ','
        }}
        feature_config {{ {features} }}
        model_config {{
          model_class: 'RankModel'
          feature_groups {{ group_name: 'all' wide_deep: DEEP {group} }}
          backbone {{
            blocks {{
              name: 'mask_net' inputs {{ feature_group_name: 'all' }}
              keras_layer {{ class_name: 'MaskNet' masknet {{ {block} {block} {block} mlp {{ hidden_units: [512, 256] }} }} }}
            }}
            concat_blocks: 'mask_net'
          }}
          embedding_regularization: 1e-4
        }}"""
    )
    rows, numbers = folder / "rows.csv", random.Random(1)
    with rows.open("w") as file:
        for _ in range(ROWS):
            ids = (str(int(size * numbers.random() ** 3)) for size in sizes)
            file.write(f"{numbers.randrange(2)},{','.join(ids)}\n")
    return [config, "--train-input", rows]


def memory(rankmill, options, arguments):
    """Expected and measured bytes of a training."""
    expected, _, _ = timed([rankmill, "check", arguments[0], "--json", "--log-level", "error"])
    result, _ = train(rankmill, options, arguments)
    return expected["model"]["training_bytes"], result["memory"]


def memory_table(rankmill, options):
    lines = ["| model | expected, MB | measured, MB | measured / expected |", "|---|---|---|---|"]
    cases = {"MovieLens": [options.config, "--train-input", options.train, "--eval-input", options.eval]}
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in FIELDS.items():
            place = Path(folder) / name.replace(" ", "-")
            place.mkdir()
            cases[name] = made_up(place, sizes)
        for name, arguments in cases.items():
            expected, measured = memory(rankmill, options, arguments)
            note(f"{name}: {measured / 1e6:.0f} MB, expected {expected / 1e6:.0f} MB")
            lines.append(f"| {name} | {expected / 1e6:.0f} | {measured / 1e6:.0f} | {measured / expected:.2f} |")
    return lines


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=EXAMPLE, help="a config on MovieLens's fields")
    parser.add_argument("--train", type=Path, help="training rows, of `rankmill data movielens-1m`, as plain text")
    parser.add_argument("--eval", type=Path, help="evaluation rows")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(1, 11)))
    parser.add_argument("--precisions", nargs="+", choices=["f32", "bf16"], default=["f32", "bf16"] if common.has_bf16() else ["f32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, help="file of the report; default: benches/results/runs-DATE.md")
    return parser.parse_args()


def main():
    options = arguments()
    rankmill, rows_per_second = programs()
    with_rows(rankmill, options)
    now = datetime.datetime.now(datetime.timezone.utc)
    lines, means = [], {}
    for precision in options.precisions:
        found, means[precision] = quality(movielens(rankmill, options, precision), precision)
        lines += found
    report = [
        f"# Whole runs, {now:%Y-%m-%d %H:%M} UTC",
        "",
        f"One epoch of {options.train.name}. Wall time is from the command to the metrics. Evaluation is in f32.",
        "",
        "| products | seed | auc (200 thresholds) | auc_exact | gauc | loss | wall time, s | first step after, s | batches ready | waited, s "
        "| peak memory, MB |",
        "|---" * 11 + "|",
        *lines,
        "",
    ]
    if "bf16" in means and "f32" in means:
        report += [f"Mean AUC of bf16 minus that of f32 over these seeds: {means['bf16'] - means['f32']:+.5f}.", ""]
    speeds, _, _ = timed([rows_per_second, options.config, options.train])
    report += ["Reading alone, rows per second (see benches/README.md):", "", f"`{json.dumps(speeds)}`", ""]
    report += ["Peak memory of a training from plain text, that of MovieLens with an evaluation:", "", *memory_table(rankmill, options), ""]
    report += common.circumstances_here()
    common.keep(report, options.output or common.results_file("runs", now))


if __name__ == "__main__":
    main()
