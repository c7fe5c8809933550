"""``python -m benchmarks``: every benchmark that needs no GPU, briefly; ``--full`` as long as each is made for."""

import subprocess
import sys

BRIEFLY = {
    "startup": ["--rounds", "2"],
    "augment": ["--rounds", "3", "--batches", "20"],
    "logging_cost": ["--rounds", "3"],
    "scale": ["--quick"],
    "engine": ["--rounds", "3", "--steps", "2"],
}
APART = ("threads", "replay", "gpu", "champion")


def main(arguments: list[str]) -> int:
    """Run them one after another; returns how many failed."""
    if arguments not in ([], ["--full"]):
        print(
            f"usage: python -m benchmarks [--full]\nor one of them: {', '.join(BRIEFLY)}, {', '.join(APART)}",
            file=sys.stderr,
        )
        return 2
    failed = 0
    for name, brief in BRIEFLY.items():
        print(f"\n{name}\n", flush=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *([] if arguments else brief)]
        failed += subprocess.run(command, check=False).returncode != 0
    print("\nOn a GPU: python -m benchmarks.gpu, python -m benchmarks.champion")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
