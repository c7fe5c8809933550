"""The plot's widget marks for redraw only what changed."""

from dataclasses import replace

from textual.app import App, ComposeResult
from textual.geometry import Region

from tui.chrome import FooterLine, Header, HeaderLine, MessageLine, PaneHead
from tui.keys import DEFAULT
from tui.plot.model import Curve, Plot
from tui.plot.widget import PlotView
from tui.theme import palette, textual_theme

DARK = palette()


def plot(points: int) -> Plot:
    xs = [float(index + 1) for index in range(points)]
    ys = [50.0 + index / 10 for index in range(points)]
    return Plot("accuracy", (Curve(xs, ys, DARK.run(0).solid, "val", value=f"{ys[-1]:.2f}"),), x_range=(1, 200),
                y_range=(0, 100), floor=0, ceiling=100)  # fmt: skip


class Recorded(PlotView):
    """Remembers the regions it was asked to redraw; an empty list is the whole."""

    def __init__(self, shown: Plot) -> None:
        super().__init__(shown)
        self.asked: list[tuple[Region, ...]] = []

    def refresh(self, *regions: Region, **options: bool) -> "Recorded":
        self.asked.append(regions)
        super().refresh(*regions, **options)
        return self


class Shown(App[None]):
    CSS = "Screen { layers: base message; }"

    def __init__(self) -> None:
        super().__init__()
        self.view = Recorded(plot(100))
        self.header, self.footer = HeaderLine(), FooterLine()
        self.message, self.pane = MessageLine(), PaneHead()
        self.pointed: list[float] = []

    def compose(self) -> ComposeResult:
        yield self.header
        yield self.pane
        yield self.view
        yield self.message
        yield self.footer

    def on_mount(self) -> None:
        self.register_theme(textual_theme(DARK))
        self.theme = "cifar-dark"
        self.header.show(Header(("Runs", "best_5m\x1b[31m-s3"), "~/runs"))
        self.footer.show(DEFAULT.footer("run"), DEFAULT.footer_end("run"))
        self.pane.show("Log", focused=True)

    def on_plot_view_pointed(self, message: PlotView.Pointed) -> None:
        self.pointed.append(message.x)


def line(app: App[None], row: int) -> str:
    return "".join(segment.text for segment in app.screen._compositor.render_strips()[row])


async def test_the_same_plot_again_redraws_nothing() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)):
        app.view.asked.clear()
        app.view.show(plot(100))
        assert app.view.asked == []


async def test_a_point_appended_redraws_only_its_cells() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)):
        app.view.asked.clear()
        app.view.show(plot(103))
        (regions,) = app.view.asked
        assert 0 < sum(region.area for region in regions) < 20
        assert all(region.height == 1 for region in regions)


async def test_what_is_on_the_screen_is_the_new_plot_after_partial_redraws() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)) as pilot:
        for points in (110, 111, 150):
            app.view.show(plot(points))
            await pilot.pause()
        partial = [line(app, row) for row in range(20)]
        app.view.redraw(everything=True)
        await pilot.pause()
        assert partial == [line(app, row) for row in range(20)]


async def test_a_resize_and_a_new_palette_redraw_all() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.resize_terminal(100, 30)
        assert "accuracy" in line(app, 2)
        app.view.asked.clear()
        app.view.show(plot(100), palette("light"))
        assert app.view.asked == [()]


async def test_a_click_tells_the_x_value() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)) as pilot:
        await pilot.click(app.view, offset=(6, 5))
        await pilot.pause()
    assert app.pointed == [1.0]


async def test_header_footer_pane_and_message() -> None:
    app = Shown()
    async with app.run_test(size=(80, 20)) as pilot:
        assert line(app, 0).startswith(" cifar-tui  Runs › best_5m-s3")
        assert line(app, 1).startswith(" Log ─────")
        assert line(app, 19).startswith(" h cross-hair   + − smooth   x x axis")
        assert line(app, 19).rstrip().endswith("? help   ^p palette")
        app.message.say("best_5m-s3 finished: 92.49 % on test, as published. r results", "good", "✓")
        await pilot.pause()
        assert line(app, 18).startswith(" ✓ best_5m-s3 finished")
        assert line(app, 0).startswith(" cifar-tui")
        app.message.clear()
        await pilot.pause()
        assert "finished" not in line(app, 18)


async def test_nothing_is_left_of_a_longer_line() -> None:
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        await pilot.pause()
        app.header.show(Header(("Runs", "a" * 90)))
        await pilot.pause()
        assert line(app, 0).rstrip().endswith("…")
        app.header.show(replace(Header(), crumbs=("Runs",)))
        await pilot.pause()
        assert line(app, 0).rstrip() == " cifar-tui  Runs"


async def test_a_small_change_sends_few_bytes() -> None:
    app = Shown()
    async with app.run_test(size=(100, 30)) as pilot:
        await pilot.pause()
        app.view.show(plot(103))
        app.screen._compositor.update_widgets({app.view})
        update = app.screen._compositor.render_partial_update()
        assert update is not None
        assert len(update.render_segments(app.console)) < 500
