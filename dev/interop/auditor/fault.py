"""The three ways in which a check can end badly."""


class Malformed(Exception):
    """Bytes or values that are not what they should be. Which rule that breaks is for the caller to know."""


class Fault(Exception):
    """A broken rule: what an auditor accuses the log or the server of."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"{rule}: {what}")
        self.rule = rule
        self.what = what


class Unavailable(Exception):
    """Something could not be read. It is no fault: a network may be down, and withholding is not lying."""
