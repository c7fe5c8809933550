"""The one exception that stands for a person's mistake."""


class UserError(Exception):
    """A mistake of the user's: shown as its text alone, without a traceback, with exit code 2.

    The text is one sentence a problem that says what is wrong, where, and what to do.
    """
