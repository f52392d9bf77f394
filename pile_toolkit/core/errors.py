"""What can go wrong, named by how to handle it; the exit code follows from the class."""

from __future__ import annotations


class PileError(Exception):
    """One sentence with the fact and the numbers, and in `hint` what to type next.

    Raise one of the subclasses: their names say what the caller can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple:
        # Exceptions travel between worker processes; the default would lose the keyword. The rest are notes.
        return _rebuild, (type(self), self.message, self.hint), self.__dict__

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  try: {self.hint}"


def _rebuild(kind: type[PileError], message: str, hint: str | None) -> PileError:
    return kind(message, hint=hint)


class UsageError(PileError):
    """The request cannot be carried out as typed or configured: change the command or the file."""

    exit_code = 2


class SourceUnavailable(PileError):
    """A source of documents is gone, withdrawn or out of reach: choose another way in."""

    exit_code = 3


class CorruptData(PileError):
    """Bytes are not what they claim to be: restore the named file."""

    exit_code = 4


class OutOfSpace(PileError):
    """Disk or memory ran out: make room and run the same command again."""

    exit_code = 5


class TryAgain(PileError):
    """A passing condition, such as another run on the same root: run the same command later."""

    exit_code = 75
