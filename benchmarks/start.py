"""How long `train.py --help` takes, and importing the package.

python benchmarks/start.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS = 10
ROOT = Path(__file__).parents[1]
COMMANDS = {
    "python": ["-c", ""],
    "import nlg_distill": ["-c", "import nlg_distill"],
    "train.py --help": ["train.py", "--help"],
}


def seconds(command):
    begin = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main():
    taken = {name: [] for name in COMMANDS}
    for number in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            spent = seconds(command)
            if number:  # the first finds no file in memory
                taken[name].append(spent)
    for name, times in taken.items():
        print(
            f"{name}: {statistics.median(times):.2f} s "
            f"(median of {ROUNDS}, {min(times):.2f} to {max(times):.2f})"
        )


if __name__ == "__main__":
    main()
