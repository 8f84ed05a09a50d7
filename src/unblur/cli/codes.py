"""What the command exits with."""

OK, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
