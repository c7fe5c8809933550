"""Programs that measure. Each prints a table and writes its figures with the environment to benchmarks/results/."""
