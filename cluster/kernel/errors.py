"""The error table: the only errors that may cross a process or reach a client.

Every row has a stable code, a sentence, whether the same request may be tried again, an HTTP status and, where the
socket does not survive the error, a close code. Close codes 3000-3499 mean "come back", 3500-3999 mean "do not".
Nothing else crosses a boundary: an exception that is not a FlowError is answered as INTERNAL and logged where it rose.
"""

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One row of the table. `close_code` is None when the socket stays open."""

    code: str
    message: str
    retryable: bool
    http_status: int
    close_code: int | None = None


TABLE: Final[dict[str, ErrorKind]] = {}


def _row(code: str, message: str, *, retryable: bool = False, http: int = 400, close: int | None = None) -> ErrorKind:
    kind = ErrorKind(code, message, retryable, http, close)
    TABLE[code] = kind
    return kind


# What a client did wrong.
INVALID_REQUEST: Final = _row("invalid_request", "The request is not of the form this call takes.")
UNKNOWN_EVENT: Final = _row("unknown_event", "No event of that name exists in this namespace.")
TOO_LARGE: Final = _row("too_large", "The request is larger than the limit.", http=413)
UNAUTHENTICATED: Final = _row(
    "unauthenticated", "A valid access token is needed. Log in and connect again.", http=401, close=3500
)
TOKEN_EXPIRED: Final = _row(
    "token_expired", "The access token has expired. Refresh it and try again.", http=401, close=3005
)
BAD_CREDENTIALS: Final = _row("bad_credentials", "The username or the password is wrong.", http=401)
FORBIDDEN: Final = _row("forbidden", "You may not do this.", http=403)
NOT_A_MEMBER: Final = _row("not_a_member", "You are not a member of this room.", http=403)
NOT_FOUND: Final = _row("not_found", "There is nothing at this address.", http=404)
ROOM_NOT_FOUND: Final = _row("room_not_found", "There is no such room.", http=404)
EVENT_NOT_FOUND: Final = _row("event_not_found", "There is no such event.", http=404)
USER_NOT_FOUND: Final = _row("user_not_found", "There is no such user.", http=404)
METHOD_NOT_ALLOWED: Final = _row("method_not_allowed", "This address does not take that method.", http=405)
USERNAME_TAKEN: Final = _row("username_taken", "That username or email is already registered.", http=409)
CLIENT_MESSAGE_ID_REUSED: Final = _row(
    "client_message_id_reused", "This clientMsgId was used for another text. Use a new one.", http=409
)
EVENT_OVER: Final = _row("event_over", "The event is over.", http=409)
REQUIREMENTS_NOT_MET: Final = _row(
    "requirements_not_met", "This event asks for something you do not have yet.", http=403
)
NOT_JOINED: Final = _row("not_joined", "Join the room on this connection first.", http=409)
LIMIT_REACHED: Final = _row("limit_reached", "You are at a limit. Leave or close something first.", http=409)
RATE_LIMITED: Final = _row("rate_limited", "Too many requests. Slow down.", retryable=True, http=429)

# What the server cannot do now.
OVERLOADED: Final = _row(
    "overloaded", "The server is at its limit. Try again later.", retryable=True, http=503, close=3013
)
UNAVAILABLE: Final = _row(
    "unavailable",
    "A part of the server is away. Try again with the same clientMsgId.",
    retryable=True,
    http=503,
)
DEADLINE_EXCEEDED: Final = _row(
    "deadline_exceeded",
    "No answer in time; the request may have been carried out. Try again with the same clientMsgId.",
    retryable=True,
    http=504,
)
INTERNAL: Final = _row("internal", "The server made a mistake. It has been logged.", http=500)

# Between processes of the cluster; a client never sees these two.
MOVED: Final = _row("moved", "Another host owns this key.", retryable=True, http=503)
FENCED: Final = _row("fenced", "A newer owner has claimed this key.", retryable=True, http=503)

# Why a socket was closed.
SERVER_SHUTDOWN: Final = _row(
    "server_shutdown", "The server is stopping. Come back.", retryable=True, http=503, close=3001
)
SLOW_CONSUMER: Final = _row(
    "slow_consumer",
    "This connection reads too slowly. Come back and resume.",
    retryable=True,
    http=503,
    close=3008,
)
RECONNECT_ELSEWHERE: Final = _row(
    "reconnect_elsewhere", "This edge is draining. Reconnect now.", retryable=True, http=503, close=3011
)
NO_PONG: Final = _row("no_pong", "No heartbeat answer came in time. Come back.", retryable=True, http=503, close=3012)
STALE: Final = _row("stale", "The socket connected to no namespace in time.", close=3502)
SESSION_REVOKED: Final = _row("session_revoked", "This session was ended.", http=401, close=3503)
PROTOCOL_ERROR: Final = _row("protocol_error", "The packet breaks the protocol.", close=3501)

# What an operator sees on the command line.
SETTINGS_INVALID: Final = _row("settings_invalid", "The settings cannot be used.", http=500)
PORT_IN_USE: Final = _row("port_in_use", "Another process listens on that port.", http=500)
DATA_DIRECTORY_IN_USE: Final = _row("data_directory_in_use", "Another Flow uses that data directory.", http=500)
NOT_RUNNING: Final = _row("not_running", "No Flow runs for that data directory.", http=503)
START_FAILED: Final = _row("start_failed", "A part of Flow did not start.", http=500)
UNKNOWN_MEMBER: Final = _row("unknown_member", "There is no such host or edge.", http=404)
CHANGE_UNDER_WAY: Final = _row(
    "change_under_way", "The cluster is being changed already. Wait until that is done.", retryable=True, http=409
)
CHANGE_REFUSED: Final = _row("change_refused", "The cluster cannot be changed that way.", http=409)
MODEL_NOT_FOUND: Final = _row("model_not_found", "There is no such model version.", http=404)
MODEL_INVALID: Final = _row("model_invalid", "The model version is damaged or made by other code.", http=500)
TRAINING_DATA_INVALID: Final = _row("training_data_invalid", "The data cannot be trained on.", http=400)
EXPERIMENT_INVALID: Final = _row("experiment_invalid", "The experiment cannot run as it is written.", http=400)
EXPERIMENT_CHANGED: Final = _row("experiment_changed", "A running experiment was changed.", http=409)


class FlowError(Exception):
    """A row of the table with the particulars of one case.

    `detail` replaces the row's sentence for people; it must never hold a secret or personal data.
    `retry_after_ms` tells a client when to come back. `fields` names offending fields for INVALID_REQUEST.
    """

    def __init__(
        self,
        kind: ErrorKind,
        detail: str | None = None,
        *,
        retry_after_ms: int | None = None,
        fields: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail or kind.message)
        self.kind = kind
        self.detail = detail
        self.retry_after_ms = retry_after_ms
        self.fields = fields

    @property
    def message(self) -> str:
        return self.detail or self.kind.message

    def to_wire(self) -> dict[str, Any]:
        """The `error` object of an ack: {code, message, retryable, retryAfterMs?, fields?}."""
        body: dict[str, Any] = {
            "code": self.kind.code,
            "message": self.message,
            "retryable": self.kind.retryable,
        }
        if self.retry_after_ms is not None:
            body["retryAfterMs"] = self.retry_after_ms
        if self.fields:
            body["fields"] = list(self.fields)
        return body

    @classmethod
    def from_wire(cls, body: dict[str, Any]) -> "FlowError":
        """The inverse of `to_wire`; a code this build does not know becomes INTERNAL."""
        kind = TABLE.get(body.get("code", ""), INTERNAL)
        message = body.get("message")
        return cls(
            kind,
            None if message == kind.message else message,
            retry_after_ms=body.get("retryAfterMs"),
            fields=tuple(body.get("fields", ())),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (FlowError.from_wire, (self.to_wire(),))
