"""``python -P -m engine.analysis``: answer the one question on standard input. People use ``cifar-tui``."""

import json
import os
import sys
from importlib import import_module

from engine.analysis import ANSWERS, INTERRUPTED, USER_ERROR
from engine.errors import UserError


def main() -> int:
    """Write the answer, or ``{"error": …}``, to standard output as JSON. Returns the exit code."""
    question = json.load(sys.stdin)
    module, _, function = ANSWERS[question.pop("ask")].partition(":")
    try:
        answer = getattr(import_module(module), function)(question)
    except UserError as error:
        json.dump({"error": str(error)}, sys.stdout)
        return USER_ERROR
    except OSError as error:  # a full disk, a folder that cannot be written or has vanished
        json.dump({"error": f"{error.filename or 'the system'}: {error.strerror or error}"}, sys.stdout)
        return USER_ERROR
    except KeyboardInterrupt:
        return INTERRUPTED
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Interpreter teardown with torch loaded costs up to a second and nothing is left to do.
    os._exit(code)
