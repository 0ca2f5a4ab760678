"""Every error Expunge raises: an ``ExpungeError``, also the builtin it refines, with its exit code."""

from __future__ import annotations

from typing import ClassVar


class ExpungeError(Exception):
    """Base of every error a user can cause. Its message says what, why and what to do, and holds no record text."""

    exit_code: ClassVar[int] = 1


class InputError(ExpungeError, ValueError):
    """Something handed in cannot be used: a file, a flag, a setting, a combination."""

    exit_code = 2


class UnknownNameError(InputError, LookupError):
    """A registry or a settings class does not have this name."""


class MissingNeedError(InputError):
    """Something a method, metric or attack needs was not handed in; the message names the flag that supplies it."""


class UnfitModelError(InputError):
    """A setting cannot be used with what this very model answers; with one of the same shape it may be."""


class UnsafeModelError(InputError):
    """A model folder could run code when loaded (pickle weights, remote code)."""


class MissingExtraError(ExpungeError, ImportError):
    """An optional package is not installed; the message has the command that installs it."""

    exit_code = 2


class LockedError(ExpungeError, RuntimeError):
    """Another process is working in this folder."""

    exit_code = 2


class DivergedError(ExpungeError, ArithmeticError):
    """Training left the finite or the sane; the last good checkpoint is kept and never receipted."""

    exit_code = 3


class VerificationError(ExpungeError, ValueError):
    """A digest, signature or ledger does not match what it vouches for."""

    exit_code = 4


class ResourceError(ExpungeError, OSError):
    """Not enough memory, disk or time on this machine."""

    exit_code = 5


class InterruptedRunError(ExpungeError, RuntimeError):
    """The run stopped at a step boundary on request and can be resumed by the same command."""

    exit_code = 75


class StaleCacheError(ExpungeError, RuntimeError):
    """Numbers computed earlier do not belong to what is read now."""


class ExpungeWarning(UserWarning):
    """Something a user should know and that does not stop the work."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out.

    By the names of its classes, so that torch need not be loaded; its allocator on the CPU raises a plain
    ``RuntimeError``.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator" in str(error)
