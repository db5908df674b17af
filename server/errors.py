"""What can go wrong, by meaning. `server.api.status` maps each to a gRPC status, in one table.

AvatarError
|- InvalidFieldError         the client sent something wrong: names the field and the remedy
|- UnauthenticatedError      the call does not prove whom it is of
|- PermissionDeniedError     the caller may not call this method
|- AvatarNotFoundError       the caller has no avatar of that id
|- NotBuiltError             declared in the contract, not built yet
|- MissingExtraError         this installation lacks an optional package
|- CapacityError             the server is full: try again later
|- LimitError                the client went past one of the limits that `started` reports
|- SlowReaderError           the client does not read what it is sent
|- IdleClientError           the client has been silent for too long
|- DeadlineError             the client's own deadline has passed
|- EngineUnavailableError    the engine's fault: a Triton, or a network in it, cannot be used now
|- ExecutionError            the execution's own failure: the engine is well, others' go on
|  |- ExecutionTimeoutError    it took too long
|  |- OutOfMemoryError         there is not enough memory for it
|  `- ExecutionFailedError     the network refused or failed it
`- ShuttingDownError         the server is going down
"""

from dataclasses import dataclass


class AvatarError(Exception):
    """Anything the server tells a client about."""


@dataclass(eq=False)
class InvalidFieldError(AvatarError):
    """A field holds something that cannot be used."""

    field: str
    problem: str

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


@dataclass(eq=False)
class UnauthenticatedError(AvatarError):
    """A call does not prove whom it is of."""

    problem: str

    def __str__(self) -> str:
        return f"authorization: {self.problem}"


@dataclass(eq=False)
class PermissionDeniedError(AvatarError):
    """A caller may not call a method."""

    method: str
    caller: str

    def __str__(self) -> str:
        return f"{self.caller} may not call {self.method}; ask the operator for the permission"


@dataclass(eq=False)
class AvatarNotFoundError(AvatarError):
    """The caller has no avatar of an id."""

    field: str

    def __str__(self) -> str:
        return (
            f"{self.field}: names no avatar of this caller, or one that has expired or was "
            "deleted; call CreateAvatar"
        )


@dataclass(eq=False)
class NotBuiltError(AvatarError):
    """A part of the contract that this version does not have."""

    feature: str

    def __str__(self) -> str:
        return f"{self.feature} is not built yet"


@dataclass(eq=False)
class MissingExtraError(AvatarError):
    """An optional package is not installed."""

    feature: str
    extra: str

    def __str__(self) -> str:
        return f"{self.feature} needs the extra `{self.extra}` installed on the server"


@dataclass(eq=False)
class CapacityError(AvatarError):
    """All places of a kind are taken."""

    limit: str
    problem: str
    retry_after_s: float

    def __str__(self) -> str:
        return f"{self.problem} (limit `{self.limit}`); try again in {self.retry_after_s:g} s"


@dataclass(eq=False)
class LimitError(AvatarError):
    """The client went past a limit."""

    limit: str
    problem: str

    def __str__(self) -> str:
        return f"{self.problem} (limit `{self.limit}`)"


@dataclass(eq=False)
class SlowReaderError(AvatarError):
    """The client left a message unread for too long."""

    timeout_s: float

    def __str__(self) -> str:
        return f"a message was left unread for {self.timeout_s:g} s; read while you write"


@dataclass(eq=False)
class IdleClientError(AvatarError):
    """The client said nothing for too long."""

    timeout_s: float

    def __str__(self) -> str:
        return f"nothing was received for {self.timeout_s:g} s; send `end` after the last audio"


@dataclass(eq=False)
class DeadlineError(AvatarError):
    """The time that the client gave its call has passed."""

    timeout_s: float

    def __str__(self) -> str:
        return f"it was not done within the {self.timeout_s:g} s that the call gave it"


@dataclass(eq=False)
class EngineUnavailableError(AvatarError):
    """A network cannot be run now."""

    network: str
    problem: str

    def __str__(self) -> str:
        return f"{self.network} cannot be run on Triton: {self.problem}"


@dataclass(eq=False)
class ExecutionError(AvatarError):
    """One execution failed by itself."""

    network: str


@dataclass(eq=False)
class ExecutionTimeoutError(ExecutionError):
    """An execution took too long."""

    timeout_s: float

    def __str__(self) -> str:
        return (
            f"{self.network} took longer than {self.timeout_s:g} s; "
            "ask for a smaller size, or try again when fewer streams run"
        )


@dataclass(eq=False)
class OutOfMemoryError(ExecutionError):
    """There is not enough memory for an execution."""

    def __str__(self) -> str:
        return (
            f"there is not enough memory to run {self.network}; ask for a smaller size, try again "
            "when fewer streams run, or have the server lower what a stream takes "
            "(--lower-when-out-of-memory)"
        )


@dataclass(eq=False)
class ExecutionFailedError(ExecutionError):
    """A network refused an execution, or failed in it."""

    problem: str

    def __str__(self) -> str:
        return f"{self.network} was not run: {self.problem}"


class ShuttingDownError(AvatarError):
    """The server is going down."""

    def __str__(self) -> str:
        return "this server is going down; try again, on another if there is one"


def cause_of(error: BaseException) -> BaseException:
    """Returns the error that a group of tasks failed with.

    What the client is to be told goes before what nobody foresaw; otherwise the first counts.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    inner: tuple[BaseException, ...] = error.exceptions  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    causes = [cause_of(each) for each in inner]
    return next((cause for cause in causes if isinstance(cause, AvatarError)), causes[0])
