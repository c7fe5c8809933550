"""The test of a run: confusion matrix, accuracy by class, calibration, and the most confident mistakes in pictures."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from textual.app import ComposeResult

from engine import atomic
from engine.runs import RunView
from tui import chrome, format, line, pixels
from tui.chrome import PartsLine
from tui.dialogs import Option
from tui.engine_client import Answer
from tui.grid import Grid
from tui.grid_view import GridView
from tui.line import Part
from tui.result_board import PANES, Board, Picture, draw, shape
from tui.result_figures import RESULT_BYTES, Account, Results, mistakes_of, read, worst_confusion
from tui.run_actions import DRAWN, FORMS, RunActions
from tui.services import RunFeed
from tui.theme import Palette

PICTURES_KEPT = 512


class ResultsBoard(GridView):
    """Everything below the line of state."""

    DEFAULT_CSS = """
    ResultsBoard { width: 1fr; height: 1fr; }
    """

    def __init__(self) -> None:
        super().__init__(id="board")
        self.board: Board | None = None
        self._used: Palette | None = None

    def show(self, board: Board, palette: Palette) -> None:
        """Show this board."""
        everything = palette != self._used
        self.board, self._used = board, palette
        self.redraw(everything=everything)

    def draw(self, width: int, height: int) -> Grid:
        if self.board is None or self._used is None:
            return Grid(width, height)
        return draw(self.board, width, height, self._used)


class ResultsScreen(RunActions):
    """Test results of one run."""

    scope = "results"
    forms = (
        *FORMS,
        Option("confusion", "Confusion", "the matrix as a picture; a name ending in .svg gives a drawing"),
        Option("reliability", "Reliability", "confidence against accuracy, likewise"),
    )
    drawn: ClassVar[Mapping[str, tuple[str, str]]] = {
        **DRAWN,
        "confusion": ("confusion", "png"),
        "reliability": ("reliability", "png"),
    }

    def __init__(self, run_id: str) -> None:
        super().__init__()
        self.run_id = run_id
        self._feed: RunFeed | None = None
        self._results: Results | None = None
        self._which = 0
        self._cursor = (0, 0)
        self._pane = "matrix"
        self._page = 0
        self._only = False
        self._pictures: dict[tuple[str, int], Picture] = {}
        self._asked: set[tuple[str, str, int]] = set()
        self._heat = ""
        self._remark = ""

    def compose_body(self) -> ComposeResult:
        yield PartsLine(palette=self.palette, id="state")
        yield ResultsBoard()

    def on_mount(self) -> None:
        self._feed = feed = self.app.services.feed(self.run_id)
        self.set_crumbs("Runs", feed.view.name or self.run_id, "Results")
        path = feed.folder.path / "results" / "test" / "result.json"
        self.in_thread(lambda: read(atomic.read_json(path, limit=RESULT_BYTES)), self._take)

    def on_unmount(self) -> None:
        self.app.services.engine.forget("images")
        self.app.services.engine.forget("gradcam")
        if self._feed is not None:
            self.app.services.release(self._feed)

    def chosen(self) -> list[RunView]:
        return [self._feed.view] if self._feed is not None else []

    def _take(self, results: Results | None) -> None:
        self._results = results
        if results is None:
            self.say(
                "No test results are kept for this run: results/test/result.json is missing or damaged", "warn", "!"
            )
            return
        self._which = results.first()
        self._cursor = worst_confusion(self.account)
        self._show()

    @property
    def account(self) -> Account:
        assert self._results is not None
        return self._results.accounts[self._which]

    # Drawing.

    def refresh_size(self) -> None:
        self._page = 0

    def tick(self) -> None:
        self._show()

    def _show(self) -> None:
        # An answer may come when the screen is closed already; one below an overlay draws once it is on top again.
        if self._results is None or self._feed is None or not self.is_current:
            return
        left, right = state_line(self._feed.view, self._results, self.account, self.app.size.width, self.palette)
        self.query_one("#state", PartsLine).show(left, right)
        view, board = self.query_one(ResultsBoard), self._board(self._results)
        view.show(board, self.palette)
        self._ask_pictures(board, *view.content_size)

    def _board(self, results: Results) -> Board:
        which = self.account.which
        return Board(
            results,
            self.account,
            self._cursor,
            self._pane,
            mistakes_of(self.account, self._cursor if self._only else None),
            self._page,
            self._only,
            {index: picture for (of, index), picture in self._pictures.items() if of == which},
            self._heat,
            self._remark,
            pixels.drawable(self.palette),
        )

    # Pictures, which the helper process has.

    def _ask_pictures(self, board: Board, width: int, height: int) -> None:
        """Ask for what is on this page and not yet here: first the images, then what the network looked at."""
        parted = shape(board, width, height)
        if not parted.picture or self._feed is None:
            return
        first = board.page * parted.items
        indices = [mistake.index for mistake in board.mistakes[first : first + parted.items]]
        which, path = board.account.which, str(self._feed.folder.path)
        missing = [index for index in indices if ("images", which, index) not in self._asked]
        if missing:
            self._asked |= {("images", which, index) for index in missing}
            question = {"ask": "images", "run": path, "indices": missing}
            self._ask(question, lambda answer: self._take_images(which, missing, answer))
        unseen = [index for index in indices if ("gradcam", which, index) not in self._asked]
        if unseen and not self._remark:
            self._asked |= {("gradcam", which, index) for index in unseen}
            question = {"ask": "gradcam", "run": path, "images": unseen, "checkpoint": which}
            self._ask(question, lambda answer: self._take_heat(which, answer))

    def _ask(self, question: Mapping[str, Any], answered: Any) -> None:
        self.app.services.engine.ask(question, answered, str(question["ask"]))

    def _take_images(self, which: str, indices: Sequence[int], answer: Answer) -> None:
        if answer.error:
            self._remark = answer.error
        else:
            size, pictures = answer.value["size"], answer.value["pictures"]
            for index, encoded in zip(indices, pictures, strict=False):
                self._keep(which, index, size, _decoded(encoded, size), None, ())
        self._show()

    def _take_heat(self, which: str, answer: Answer) -> None:
        if answer.error:
            self._remark = "" if "there is no question" in answer.error else answer.error
            return
        self._heat = f"Grad-CAM of {answer.value['layer']}, for the answer given"
        size = answer.value["size"]
        for image in answer.value["images"]:
            heat, plain = _decoded(image["overlay"], size), _decoded(image["pixels"], size)
            self._keep(which, image["index"], size, plain, heat, tuple(image["probabilities"]))
        self._show()

    def _keep(
        self, which: str, index: int, size: int, image: bytes, heat: bytes | None, shares: tuple[float, ...]
    ) -> None:
        known = self._pictures.get((which, index))
        if len(image) != size * size * 3 or (known is not None and heat is None):
            return
        if len(self._pictures) >= PICTURES_KEPT:
            self._pictures.clear()
            self._asked.clear()
        self._pictures[which, index] = Picture(size, image, heat, shares)

    # Keys.

    def _move(self, down: int, right: int) -> None:
        if self._results is None:
            return
        last = len(self._results.classes) - 1
        row, column = self._cursor
        self._cursor = min(max(row + down, 0), last), min(max(column + right, 0), last)
        if self._only:
            self._page = 0
        self._show()

    def action_cell_left(self) -> None:
        self._move(0, -1)

    def action_cell_right(self) -> None:
        self._move(0, 1)

    def action_cell_up(self) -> None:
        self._move(-1, 0)

    def action_cell_down(self) -> None:
        self._move(1, 0)

    def action_cell_images(self) -> None:
        """The mistakes of this cell alone, or all of them again."""
        if self._results is None:
            return
        self._only = not self._only
        self._page = 0
        self._show()

    def action_back(self) -> None:
        if self._only:
            self.action_cell_images()
        else:
            self.app.back()

    def action_shown_checkpoint(self) -> None:
        if self._results is None:
            return
        if len(self._results.accounts) < 2:
            self.say(f"Only the {self.account.which} checkpoint was tested")
            return
        self._which = 1 - self._which
        self._page = 0
        self._show()

    def _turn(self, by: int) -> None:
        view = self.query_one(ResultsBoard)
        if view.board is None:
            return
        items = shape(view.board, *view.content_size).items
        pages = -(-len(view.board.mistakes) // items) if items else 1
        self._page = min(max(self._page + by, 0), max(pages - 1, 0))
        self._show()

    def action_next_page(self) -> None:
        self._turn(1)

    def action_previous_page(self) -> None:
        self._turn(-1)

    def action_half_page_down(self) -> None:
        self._turn(5)

    def action_half_page_up(self) -> None:
        self._turn(-5)

    def action_cursor_top(self) -> None:
        self._turn(-self._page)

    def action_cursor_end(self) -> None:
        self._turn(len(self.account.worst) if self._results else 0)

    def action_next_pane(self) -> None:
        self._pane = PANES[(PANES.index(self._pane) + 1) % len(PANES)]
        self._show()

    def action_previous_pane(self) -> None:
        self._pane = PANES[(PANES.index(self._pane) - 1) % len(PANES)]
        self._show()


def _decoded(encoded: Any, size: int) -> bytes:
    """RGB bytes; nothing when they are not as many as the size says."""
    try:
        data = base64.b64decode(str(encoded), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if len(data) == size * size * 3 else b""


def state_line(
    view: RunView, results: Results, account: Account, width: int, palette: Palette
) -> tuple[list[Part], list[Part]]:
    """`✓ finished   test 92.49 % of 10,000   checkpoint best, epoch 181   published 92.49 % ±0.00`, as much as fits."""
    dim, text, bold = palette.style("dim"), palette.style("text"), palette.style("text", bold=True)
    entries: list[list[Part]] = [
        chrome.state_parts(view.state, palette),
        [("test ", dim), (f"{format.accuracy(account.accuracy)} %", bold), (f" of {account.images:,}", dim)],
        [("checkpoint ", dim), (account.which, text), (f", epoch {format.epochs(account.epoch)}", dim)],
    ]
    if results.published is not None:
        entries.append(_published(results.published, results, account, palette))
    if account.ece is not None:
        entries.append([("ECE ", dim), (f"{format.accuracy(account.ece)} %", text)])
    right: list[Part] = [("took ", dim), (format.duration(view.active_s), bold)]
    left: list[Part] = []
    for entry in entries:
        gap: list[Part] = [("   ", dim)] if left else []
        if line.width_of([*left, *gap, *entry, *right]) + 4 <= width:
            left += [*gap, *entry]
    return left, right


def _published(figure: float, results: Results, account: Account, palette: Palette) -> list[Part]:
    """`published 92.49 % +0.07`, the difference only for the checkpoint that the published figure is compared with."""
    parts: list[Part] = [
        ("published ", palette.style("dim")),
        (f"{format.accuracy(figure)} % ", palette.style("text")),
    ]
    beyond = results.beyond_published(account)
    if beyond is None:
        return [*parts, (f"for the {results.published_for}", palette.style("dim"))]
    return [*parts, (format.delta(beyond), palette.style("good" if beyond > -0.005 else "bad"))]
