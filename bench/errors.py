"""What a measurement may fail with."""


class NotMeasured(Exception):
    """A contender that could not run, or did something else than it was asked; the text is one line for the table."""
