"""What can go wrong in the lab, said the way the rest of the project says it."""


class LabError(Exception):
    """The lab could not do what it was asked; `hint` is what to do about it, or empty."""

    def __init__(self, message: str, hint: str = "") -> None:
        """Keep the message as the exception's text and the hint beside it."""
        super().__init__(message)
        self.hint = hint


class NotBuilt(LabError):
    """A program or the recorded CRDs are missing: `make lab-build` was not run, or did not finish."""


class ApiError(LabError):
    """The API server answered with an error; `status` is the HTTP status, `reason` the API's word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        """Keep what the server said."""
        super().__init__(message)
        self.status = status
        self.reason = reason
