"""Every error this project raises on purpose.

SweepError
    ConfigError        a sweep, setting or request cannot mean anything; raised while it is written down
    DataError          a data set is missing, incomplete or not the published one
    StageFailedError   stages of a launch failed; carries how many and how to look at them
    StoreError         the store holds something that cannot be trusted, or cannot be used as it is
InterruptedStage       not an error: a worker was asked to stop and has saved its checkpoint
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
    """The store cannot be trusted or used as it is."""


class InterruptedStage(BaseException):
    """A stage stopped at the end of an epoch, on request, after its checkpoint was saved.

    Derives from BaseException, so that a trainer's own ``except Exception`` cannot swallow it.
    """
