"""GNU screen, and what of the terminal around it does not hold inside it.

Version 4 takes the numbers of a 24-bit colour for attributes (and so draws dim, blinking, in other colours), while
COLORTERM still says what the outer terminal can do. And once a program has asked for the mouse, it keeps Esc to itself
until the next key comes, since a mouse's report might begin so.
"""

from collections.abc import Mapping, MutableMapping


def is_around(environ: Mapping[str, str]) -> bool:
    """Whether the program runs inside GNU screen."""
    return bool(environ.get("STY")) or environ.get("TERM", "").startswith("screen.")


def forget_outer_colours(environ: MutableMapping[str, str]) -> None:
    """Leave it to TERM, which screen sets itself, how many colours there are."""
    if is_around(environ):
        environ.pop("COLORTERM", None)
