"""What keys do: one table of actions, which screen has which of them, and what its footer shows.

A lower-case key never stops, alters or removes a run. An action belongs to a *scope* (`runs`, `plots`, …); a screen has
several scopes (`SCREEN_SCOPES`), later ones winning where two use the same key.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a key does. The method that does it is `action_NAME`.

    `text` says it in the palette. Help lists it under `group`; those with the same `together` share one line there.
    """

    name: str
    keys: tuple[str, ...]
    text: str
    scope: str
    group: str
    together: str = ""


def _actions(scope: str, group: str, *rows: tuple[str, ...]) -> Iterator[Action]:
    for name, keys, text, *together in rows:
        yield Action(name, tuple(keys.split()), text, scope, group, *together)


ACTIONS: tuple[Action, ...] = (
    *_actions(
        "everywhere",
        "Look",
        ("cursor_down", "j down", "next row", "row"),
        ("cursor_up", "k up", "previous row", "row"),
        ("cursor_top", "g", "top", "top, end"),
        ("cursor_end", "G", "end", "top, end"),
        ("half_page_down", "ctrl+d", "half a page down", "half a page"),
        ("half_page_up", "ctrl+u", "half a page up", "half a page"),
        ("next_pane", "tab ]", "next pane", "next, previous pane"),
        ("previous_pane", "[ shift+tab", "previous pane", "next, previous pane"),
        ("open", "enter", "open"),
    ),
    *_actions(
        "everywhere",
        "Everywhere",
        ("show_runs", "1", "Runs"),
        ("show_new", "2", "New run"),
        ("show_queue", "3", "Queue"),
        ("help", "?", "these keys"),
        ("palette", "ctrl+p", "palette of actions"),
        ("toggle_theme", "ctrl+t", "light, dark"),
        ("back", "escape", "back"),
        ("quit", "q", "quit; runs go on"),
        ("suspend", "ctrl+z", "shell; fg returns"),
        ("redraw", "ctrl+l", "draw again"),
    ),
    *_actions(
        "table",
        "Look",
        ("filter", "/", "filter"),
        ("sort", "s", "sort; again reverses"),
        ("columns", "C", "choose columns"),
    ),
    *_actions(
        "runs",
        "Look",
        ("preview", "v", "preview on, off"),
        ("show_archived", "a", "archived too, or not"),
        ("sweep", "t", "table of its sweep"),
    ),
    *_actions("list", "Look", ("show_yaml", "y", "YAML")),
    *_actions(
        "table",
        "Mark and make",
        ("mark", "space", "mark"),
        ("mark_all", "*", "mark all shown"),
    ),
    *_actions(
        "runs",
        "Mark and make",
        ("compare", "c", "compare marked"),
        ("new_run", "n", "new run"),
        ("open_folder", "o", "open another folder"),
    ),
    *_actions(
        "list",
        "Mark and make",
        ("edit", "e", "name, tags, note"),
        ("write", "w", "write CSV, PNG, …"),
        ("copy_command", "Y", "copy the command"),
        ("undo", "u", "undo"),
    ),
    *_actions(
        "run",
        "Act on the run",
        ("new_from_this", "N", "new from this one"),
        ("stop", "S", "stop"),
        ("pause", "P", "pause, continue"),
        ("resume", "R", "resume"),
        ("checkpoint", "W", "checkpoint now"),
        ("archive", "A", "archive, bring back"),
        ("delete", "D", "delete, to trash"),
    ),
    *_actions(
        "run",
        "Look",
        ("results", "r", "results"),
        ("layers", "b", "layers"),
        ("log", "i", "the log in full"),
    ),
    *_actions(
        "log",
        "Look",
        ("search", "/", "search the log"),
        ("next_match", "n", "next match", "next, previous match"),
        ("previous_match", "N", "previous match", "next, previous match"),
    ),
    *_actions(
        "plots",
        "Plots",
        ("cross_hair", "h", "cross-hair"),
        ("cross_hair_left", "left", "cross-hair left", "move it"),
        ("cross_hair_right", "right", "cross-hair right", "move it"),
        ("cross_hair_left_ten", "shift+left", "cross-hair left by ten", "move it by ten"),
        ("cross_hair_right_ten", "shift+right", "cross-hair right by ten", "move it by ten"),
        ("smooth_more", "+", "smoother by 0.1", "smooth by 0.1"),
        ("smooth_less", "-", "less smooth by 0.1", "smooth by 0.1"),
        ("smooth_none", "0", "no smoothing"),
        ("x_axis", "x", "x: step, epoch, time"),
        ("log_y", "l", "log y", "log y, log x"),
        ("log_x", "L", "log x", "log y, log x"),
        ("zoom_in", "z", "zoom in at the cross-hair", "zoom in, out"),
        ("zoom_out", "Z", "zoom out", "zoom in, out"),
        ("pan_left", "<", "pan left", "pan"),
        ("pan_right", ">", "pan right", "pan"),
        ("whole_range", ".", "whole range"),
        ("follow", "f", "follow"),
    ),
    *_actions(
        "new",
        "New run",
        ("launch", "enter", "launch"),
        ("add_to_queue", "a", "add to the queue"),
        ("draw_again", "space", "draw the samples again"),
        ("next_image", "i", "next image"),
        ("budget", "p", "parameter budget"),
        ("edit_field", "e", "edit the field"),
        ("save_preset", "w", "save as a preset"),
        ("experiments", "o", "start from an experiment"),
        ("search_presets", "/", "search the presets"),
        ("show_yaml", "y", "YAML in full"),
    ),
    *_actions(
        "compare",
        "Compare",
        ("metric", "m", "metric"),
        ("all_keys", "d", "all keys or differing"),
        ("seeds", "t", "seeds together, apart"),
        ("baseline", "=", "baseline"),
        ("scatter_axis", "p", "parameters or MACs"),
        ("sort", "s", "order of the runs"),
    ),
    *_actions(
        "queue",
        "Queue",
        ("move_down", "J", "move down", "move"),
        ("move_up", "K", "move up", "move"),
        ("hold", "H", "hold, release"),
        ("remove", "D", "remove"),
        ("pause_queue", "P", "pause the queue"),
        ("capacity", "C", "runs per slot"),
        ("resume", "R", "into the queue again"),
        ("new_run", "n", "new run"),
    ),
    *_actions(
        "sweep",
        "Sweep",
        ("compare", "c", "compare all rows"),
        ("add_to_queue", "a", "queue what is missing"),
        ("write", "w", "write CSV, Markdown, …"),
    ),
    *_actions(
        "results",
        "Results",
        ("cell_left", "left", "cell to the left", "cell"),
        ("cell_up", "up", "cell above", "cell"),
        ("cell_down", "down", "cell below", "cell"),
        ("cell_right", "right", "cell to the right", "cell"),
        ("cell_images", "enter", "the cell's images"),
        ("shown_checkpoint", "m", "best or last checkpoint"),
        ("next_page", "j", "next mistakes", "page of mistakes"),
        ("previous_page", "k", "previous mistakes", "page of mistakes"),
        ("write", "w", "write CSV, PNG, …"),
    ),
)

SCREEN_SCOPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "runs": ("everywhere", "table", "list", "run", "runs"),
        "empty": ("everywhere", "runs"),
        "new": ("everywhere", "new"),
        "run": ("everywhere", "list", "plots", "run"),
        "log": ("everywhere", "log"),
        "compare": ("everywhere", "list", "plots", "compare"),
        "queue": ("everywhere", "list", "queue"),
        "sweep": ("everywhere", "run", "sweep"),
        "results": ("everywhere", "results"),
    }
)

# A footer's entries in order: the actions that share the entry, its word, and a shorter word for narrow terminals.
FOOTERS: Mapping[str, tuple[tuple[str, str, str], ...]] = MappingProxyType(
    {
        "runs": (
            ("open", "open", "open"),
            ("mark", "mark", "mark"),
            ("compare", "compare", "compare"),
            ("new_run", "new run", "new"),
            ("filter", "filter", "filter"),
        ),
        "empty": (
            ("new_run", "new run", "new run"),
            ("open_folder", "open folder", "open folder"),
            ("show_new", "presets", "presets"),
            ("quit", "quit", "quit"),
        ),
        "new": (
            ("launch", "launch", "launch"),
            ("add_to_queue", "add to queue", "queue"),
            ("next_pane", "next list", "pane"),
            ("edit_field", "edit field", "edit"),
            ("save_preset", "save preset", "save"),
        ),
        "run": (
            ("cross_hair", "cross-hair", "cross-hair"),
            ("smooth_more smooth_less", "smooth", "smooth"),
            ("x_axis", "x axis", "axis"),
            ("log_y", "log y", "log"),
            ("stop", "stop", "stop"),
        ),
        "log": (
            ("search", "search", "search"),
            ("next_match previous_match", "next, previous", "next"),
            ("cursor_end", "end", "end"),
            ("back", "back", "back"),
        ),
        "compare": (
            ("metric", "metric", "metric"),
            ("all_keys", "all keys", "keys"),
            ("seeds", "seeds", "seeds"),
            ("baseline", "baseline", "baseline"),
            ("write", "export", "export"),
        ),
        "queue": (
            ("open", "open", "open"),
            ("move_down move_up", "move", "move"),
            ("hold", "hold", "hold"),
            ("pause_queue", "pause queue", "pause"),
            ("new_run", "new run", "new"),
        ),
        "sweep": (
            ("open", "open its run", "open"),
            ("compare", "compare all", "compare"),
            ("add_to_queue", "queue the missing", "queue"),
            ("write", "export", "export"),
            ("stop", "stop", "stop"),
        ),
        "results": (
            ("cell_left cell_up cell_down cell_right", "cell", "cell"),
            ("cell_images", "its images", "images"),
            ("shown_checkpoint", "best or last", "best, last"),
            ("next_pane", "next pane", "pane"),
            ("write", "export", "export"),
        ),
    }
)
FOOTER_END = (("help", "help"), ("palette", "palette"))
