"""What calls can fail with: writes docs/errors.md.

python -m tests.reports.errors
"""

from google.rpc import code_pb2

from server.api.status import KINDS, UNFORESEEN, Kind
from server.http.problems import STATUSES
from tests.reports import markdown

EXPLANATION = """Each error has one reason, by gRPC as `google.rpc.ErrorInfo` of the domain
`echomimic.v1` within the call's status, by HTTP as `reason` of a problem (RFC 9457). Compare with
it, and show people the message, which names the field and the remedy. Where it applies there are
`BadRequest`, `RetryInfo` or `QuotaFailure`, too; HTTP has `field`, `retry_after_s` and `limit`.
A call ends once, with its summary or with one of these."""


def row(kind: Kind) -> tuple[str, ...]:
    return (
        f"`{kind.reason}`",
        code_pb2.Code.Name(kind.code),
        str(int(STATUSES[kind.reason])),
        kind.meaning,
        kind.remedy,
        kind.retry,
    )


def page() -> tuple[str, ...]:
    """Returns the parts of the page."""
    rows = [row(kind) for kind in (*KINDS.values(), UNFORESEEN)]
    header = ("reason", "gRPC", "HTTP", "meaning", "what to do", "try again")
    return "Errors", EXPLANATION, markdown.table(header, rows)


def main() -> None:
    markdown.write("errors.md", "errors", *page())


if __name__ == "__main__":
    main()
