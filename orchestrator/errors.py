"""Every error this project raises on purpose.

SweepError
    ConfigError        a sweep, setting or request cannot mean anything; raised while it is written down
    DataError          a data set is missing, incomplete or not the published one
    StageFailedError   stages of a launch failed; carries how many and how to look at them
    StoreError         the store cannot be reached, read or written, or not used as it is
        DamageError    bytes in it are torn, foreign or changed; they are set aside, and the stage runs again
InterruptedStage       not an error: a worker was asked to stop and has saved its checkpoint
LeaseLost              not an error: another worker has taken the stage over; this one must not write any more
"""

from __future__ import annotations


class SweepError(Exception):
    """Base of all errors raised on purpose, so that a caller can tell them from bugs."""


class ConfigError(SweepError):
    """A sweep, setting or request is not meaningful as written."""


class DataError(SweepError):
    """A data set cannot be read: missing, incomplete, or other bytes than the published ones."""


class StageFailedError(SweepError):
    """A trainer raised; the store's failure record holds settings and traceback."""


class StoreError(SweepError):
    """The store cannot be reached, read or written, or not used as it is; what it holds may be sound."""


class DamageError(StoreError):
    """Bytes in the store are not what was written: torn, foreign or changed. They can be set aside."""


class InterruptedStage(BaseException):
    """A stage stopped at the end of an epoch, on request, after its checkpoint was saved.

    Derives from BaseException, so that a trainer's own ``except Exception`` cannot swallow it.
    """


class LeaseLost(BaseException):
    """Another worker holds what this one held: it was away for longer than its lease, and was thought dead.

    Derives from BaseException for the same reason.
    """
