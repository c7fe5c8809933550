"""Bytes and milliseconds of one plot's redraw in a real pty: a point appended, and the whole curve moved.

python benchmarks/terminal_plot.py [--size 100x30] [--points 1000,10000,100000]
"""

import argparse
import fcntl
import math
import os
import pty
import select
import struct
import sys
import termios
import time
from statistics import median

REPEATS = 15
QUIET_S = 0.25


def child(points: int, commands_from: int, reports_to: int) -> None:
    """The program under measure: redraws on each line it is sent, `a` to append and `f` to move all."""
    import threading

    from textual.app import App, ComposeResult

    from tui.plot.model import Curve, Plot
    from tui.plot.widget import PlotView
    from tui.theme import palette, textual_theme

    colours = palette()
    commands = os.fdopen(commands_from)
    reports = os.fdopen(reports_to, "w")

    def plot(count: int, shift: float) -> Plot:
        xs = [float(index) for index in range(count)]
        curves = tuple(
            Curve(xs, [50 + 40 * math.sin(x / points * 9 + phase + shift) for x in xs], style, name, value="50.00")
            for phase, style, name in ((0.0, colours.run(0).solid, "val"), (1.0, colours.run(0).soft, "train"))
        )
        return Plot("accuracy", curves, unit="%", x_range=(0.0, points * 1.2), y_range=(0, 100), floor=0, ceiling=100)

    class Bench(App[None]):
        ENABLE_COMMAND_PALETTE = False

        def compose(self) -> ComposeResult:
            self.view = PlotView(plot(points, 0.0))
            yield self.view

        def on_mount(self) -> None:
            self.register_theme(textual_theme(colours))
            self.theme = "cifar-dark"
            threading.Thread(target=self.listen, daemon=True).start()

        def listen(self) -> None:
            count, shift = points, 0.0
            for command in commands:
                if command.startswith("a"):
                    count += max(points // 100, 1)
                else:
                    shift += 0.3
                self.call_from_thread(self.change, plot(count, shift))

        def change(self, shown: Plot) -> None:
            began = time.perf_counter()
            self.view.show(shown)
            reports.write(f"{(time.perf_counter() - began) * 1e3}\n")
            reports.flush()

    Bench().run()


def measure(points: int, columns: int, rows: int) -> dict[str, tuple[float, float]]:
    """Median (bytes written to the terminal, milliseconds to draw) of each kind of change."""
    command_read, command_write = os.pipe()
    report_read, report_write = os.pipe()
    pid, terminal = pty.fork()
    if pid == 0:
        os.set_inheritable(command_read, True)
        os.set_inheritable(report_write, True)
        ends = f"{command_read},{report_write}"
        os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LINES": str(rows), "COLUMNS": str(columns)}
        os.execv(sys.executable, [sys.executable, __file__, "--child", str(points), "--ends", ends])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    drained(terminal, first=20.0)
    results = {}
    with os.fdopen(report_read) as reports:
        for name, command in (("append", b"a\n"), ("full", b"f\n")):
            seen = []
            for _ in range(REPEATS):
                os.write(command_write, command)
                size = drained(terminal, first=5.0)
                seen.append((size, float(reports.readline())))
            results[name] = (median(size for size, _ in seen), median(spent for _, spent in seen))
        os.kill(pid, 15)
        os.waitpid(pid, 0)
    return results


def drained(terminal: int, first: float) -> int:
    """Read until the terminal is quiet; returns the bytes."""
    total, patience = 0, first
    while select.select([terminal], [], [], patience)[0]:
        try:
            total += len(os.read(terminal, 65536))
        except OSError:
            break
        patience = QUIET_S
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="100x30")
    parser.add_argument("--points", default="1000,10000,100000")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ends", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, *(int(end) for end in given.ends.split(",")))
        return
    columns, rows = (int(part) for part in given.size.split("x"))
    print(f"{'points':>8} {'append B':>9} {'ms':>6} {'full B':>9} {'ms':>6}   at {given.size}")
    for points in (int(part) for part in given.points.split(",")):
        results = measure(points, columns, rows)
        append, full = results["append"], results["full"]
        print(f"{points:>8} {append[0]:>9.0f} {append[1]:>6.1f} {full[0]:>9.0f} {full[1]:>6.1f}")


if __name__ == "__main__":
    main()
