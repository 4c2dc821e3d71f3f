#!/usr/bin/env python3
"""All comparisons, one after the other: training, scoring, serving, whole runs. Each keeps its report under benches/results/.

    python3 benches/all.py                    everything: about an hour on two cores
    python3 benches/all.py --quick            a glance: about ten minutes

Other options go to benches/runs.py (`--config`, `--train`, `--eval`): without them the whole runs are on made-up rows.
"""

import subprocess
import sys
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
QUICK = {
    "compare.py": ["--sizes", "small", "--windows", "3", "--seconds", "0.5"],
    "scoring.py": ["--sizes", "small", "--windows", "3", "--seconds", "0.3", "--without", "PyTorch compiled"],
    "serving.py": ["--models", "towers", "--windows", "3", "--seconds", "0.5"],
    "runs.py": ["--seeds", "1"],
}


def main():
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    quick = "--quick" in sys.argv[1:]
    given = [argument for argument in sys.argv[1:] if argument != "--quick"]
    failed = []
    for script, options in QUICK.items():
        command = [sys.executable, str(BENCHES / script), *(options if quick else []), *(given if script == "runs.py" else [])]
        print("==", *command[1:], file=sys.stderr, flush=True)
        if subprocess.run(command).returncode:
            failed.append(script)
    if failed:
        print("these did not end well:", *failed, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
