"""The errors tillerman raises, as one tree; doors catch them and nothing else does.

TillermanError(message, hint="")
  UsageError      what was asked for is not there or does not fit     exit 2
  ClusterError    the cluster did not answer as it should             exit 3
    Unreachable     nothing answered, or it stopped answering
    Forbidden       the cluster knows us and says no
  RefusedError    we will not do that                                 exit 4
  ModelError      the language model failed or answered out of shape  exit 5
"""


class TillermanError(Exception):
    """What went wrong, in one lower-case line without a full stop, and a hint: what to do about it."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(TillermanError):
    """What was asked for is not there or does not fit."""

    exit_status = 2


class ClusterError(TillermanError):
    """The cluster did not answer as it should."""

    exit_status = 3


class Unreachable(ClusterError):
    """Nothing answered at that address, or it stopped answering."""


class Forbidden(ClusterError):
    """The cluster knows who asks and says no."""


class RefusedError(TillermanError):
    """Tillerman will not do that."""

    exit_status = 4


class ModelError(TillermanError):
    """The language model failed or answered out of shape."""

    exit_status = 5
