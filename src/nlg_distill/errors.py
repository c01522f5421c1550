"""The one kind of error that a user can mend."""


class UserError(ValueError):
    """What was wrong, its value, and what to do; shown without a traceback."""
