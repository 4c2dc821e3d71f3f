"""What the two comparisons share: programs that take turns, the environment of the Python ones, and the report."""

import argparse
import datetime
import json
import os
import platform
import shlex
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class Peer:
    """A program that says something of itself first and then measures a window whenever it is told to."""

    def __init__(self, command, threads, environment=None):
        environment = dict(environment or os.environ, OMP_NUM_THREADS=str(threads), MKL_NUM_THREADS=str(threads))
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.process = subprocess.Popen([str(part) for part in command], text=True, env=environment, **pipes)
        self.first = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.process.stderr.read().strip().splitlines()[-1:] or "no message")
        return json.loads(line)

    def window(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.stdout.read()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def take_turns(peers, windows, seconds):
    """The windows of each peer by name, after one each to warm up; closes the peers."""
    found = {name: [] for name in peers}
    for peer in peers.values():
        peer.window(seconds)
    for turn in range(windows):
        # Every other round goes backwards, so that nobody always follows the same neighbour.
        for name in list(peers) if turn % 2 == 0 else reversed(peers):
            found[name].append(peers[name].window(seconds))
    for peer in peers.values():
        peer.close()
    return found


def python_with(packages, options):
    """The interpreter of the Python programs: the given one, or that of a virtual environment into which the packages go once."""
    options.work.mkdir(parents=True, exist_ok=True)
    if options.python:
        return options.python
    folder = options.work / "venv"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True, clear=True)
    missing = [package for package in packages if not (folder / package).exists()]
    if missing:
        note(f"installing {', '.join(missing)} into {folder} (gigabytes, once)")
        run([python, "-m", "pip", "install", "--quiet", *missing])
    for package in missing:
        (folder / package).touch()
    return python


def run(command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def output(command):
    return run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT).stdout.strip()


def note(text):
    print(text, file=sys.stderr, flush=True)


def build(examples):
    """Builds Rust programs, given as package and example, and gives their folder."""
    for package, example in examples:
        run(["cargo", "build", "--release", "--locked", "-p", package, "--example", example], cwd=ROOT)
    return release() / "examples"


def build_rankmill():
    """Builds the program."""
    run(["cargo", "build", "--release", "--locked", "-p", "rankmill"], cwd=ROOT)
    return release() / "rankmill"


def release():
    """Where cargo puts release builds."""
    metadata = json.loads(output(["cargo", "metadata", "--format-version", "1", "--no-deps"]))
    return Path(metadata["target_directory"]) / "release"


def prepare(options, packages, examples):
    """The interpreter of the Python programs, the folder of the Rust ones, and the time at which measuring begins."""
    return python_with(packages, options), build(examples), datetime.datetime.now(datetime.timezone.utc)


def parser(description, sizes, windows, seconds, table):
    """The options of both comparisons, with their defaults."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--sizes", nargs="+", choices=sizes, default=sizes)
    made.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="numbers of threads")
    made.add_argument("--windows", type=int, default=windows, help="measured windows of each system; one more warms it up")
    made.add_argument("--seconds", type=float, default=seconds, help="length of a window")
    made.add_argument("--python", type=Path, help="an interpreter that has the packages; default: an environment made under --work")
    made.add_argument("--work", type=Path, default=ROOT / "target" / "bench", help="folder for that environment and the rows")
    made.add_argument("--output", type=Path, help=f"file of the table; default: benches/results/{table}-DATE.md")
    return made


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


def has_bf16():
    """Whether the processor multiplies bfloat16."""
    return "avx512_bf16" in machine()


def commit():
    try:
        return output(["git", "describe", "--always", "--dirty"])
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def versions(python, packages):
    code = f"from importlib.metadata import version; print(', '.join(f'{{p}} {{version(p)}}' for p in {packages!r}))"
    code += "; import platform; print('Python', platform.python_version())"
    found, interpreter = output([python, "-c", code]).splitlines()
    return f"{interpreter}, {found}"


def circumstances_here():
    """What a report says of how its figures came to be."""
    command = f"python3 benches/{Path(sys.argv[0]).name} {shlex.join(sys.argv[1:])}"
    return [f"- Command: `{command.strip()}`", f"- Machine: {machine()}", f"- Rankmill: commit {commit()}; {output(['rustc', '--version'])}"]


def circumstances(python, packages):
    """The same with the versions of the peers."""
    return [*circumstances_here(), f"- Peers: {versions(python, packages)}"]


def results_file(table, now):
    return ROOT / "benches" / "results" / f"{table}-{now:%Y-%m-%d-%H%M}.md"


def keep(report, target):
    """Prints a report and writes it to its file."""
    text = "\n".join(report) + "\n"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    print(text)
    note(f"kept as {target}")
