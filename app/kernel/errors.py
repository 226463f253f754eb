"""Every error a caller can meet: one class, one public enumeration of stable codes.

Surfaces map an `AppError` to RFC 9457 problem JSON over HTTP and to a tool error
over MCP; both carry the same `code`. A code is never renamed or reused.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Code(StrEnum):
    """Stable error codes, documented in `docs/reference/errors.md`."""

    INTERNAL = "internal"
    INVALID_INPUT = "invalid_input"
    UNKNOWN_FIELD = "unknown_field"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    LOOP_DETECTED = "loop_detected"
    CONFIG_INVALID = "config_invalid"
    NOT_READY = "not_ready"
    ISSUER_UNAVAILABLE = "issuer_unavailable"

    HUB_UNAVAILABLE = "hub_unavailable"
    HUB_DISK_FULL = "hub_disk_full"
    HUB_NOT_WRITABLE = "hub_not_writable"
    HUB_VERSION_MISMATCH = "hub_version_mismatch"
    HUB_LOCKED = "hub_locked"

    INSUFFICIENT_CREDITS = "insufficient_credits"
    CREDITS_EXHAUSTED = "credits_exhausted"
    PRICE_UNKNOWN = "price_unknown"
    HOLD_UNKNOWN = "hold_unknown"

    TEMPLATE_UNKNOWN = "template_unknown"
    JOB_CANCELLED = "job_cancelled"
    JOB_FINISHED = "job_finished"
    LEASE_LOST = "lease_lost"
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    CHECK_FAILED = "check_failed"
    ATTEMPTS_EXHAUSTED = "attempts_exhausted"
    QUESTION_EXPIRED = "question_expired"

    TOOL_UNKNOWN = "tool_unknown"
    TOOL_DISABLED = "tool_disabled"
    TOOL_DEFINITION_CHANGED = "tool_definition_changed"
    TOOL_SERVER_DOWN = "tool_server_down"
    TOOL_TIMEOUT = "tool_timeout"
    TOOL_OUTPUT_TOO_LARGE = "tool_output_too_large"
    TOOL_PROTOCOL_ERROR = "tool_protocol_error"
    TOOL_FAILED = "tool_failed"
    TOOL_DEFINITION_REFUSED = "tool_definition_refused"

    EMBEDDING_FAILED = "embedding_failed"

    SECRET_MISSING = "secret_missing"
    SECRET_REFUSED = "secret_refused"
    SECRET_UNREADABLE = "secret_unreadable"
    KEYS_UNAVAILABLE = "keys_unavailable"
    CONNECTION_REQUIRED = "connection_required"
    OAUTH_FAILED = "oauth_failed"

    SANDBOX_UNAVAILABLE = "sandbox_unavailable"
    SANDBOX_REQUIREMENT_UNKNOWN = "sandbox_requirement_unknown"
    SANDBOX_REQUIREMENT_REFUSED = "sandbox_requirement_refused"
    SANDBOX_FAILED = "sandbox_failed"
    SANDBOX_SESSION_ENDED = "sandbox_session_ended"
    SANDBOX_SESSION_BUSY = "sandbox_session_busy"

    STORAGE_FULL = "storage_full"
    LINK_INVALID = "link_invalid"

    EMPTY_FILE = "empty_file"
    FILE_TOO_LARGE = "file_too_large"
    NOT_A_SEQUENCE = "not_a_sequence"
    PROTEIN_NOT_DNA = "protein_not_dna"
    GENE_NOT_FOUND = "gene_not_found"
    NO_CODING_SEQUENCE = "no_coding_sequence"
    NO_PAM_SITE = "no_pam_site"
    BAD_LOCATION = "bad_location"
    UNKNOWN_VECTOR = "unknown_vector"
    VECTOR_SITE_MISSING = "vector_site_missing"
    NO_PRIMERS = "no_primers"
    NO_GUIDE = "no_guide"


class CodeInfo(NamedTuple):
    """What a code means: HTTP status, whether the same call may succeed later, its meaning."""

    status: int
    is_retryable: bool
    meaning: str


def _info(status: int, meaning: str, *, retry: bool = False) -> CodeInfo:
    return CodeInfo(status, retry, meaning)


CODES: Mapping[Code, CodeInfo] = {
    Code.INTERNAL: _info(500, "A fault of the server; the event id in the answer finds its log."),
    Code.INVALID_INPUT: _info(422, "A value does not fit the published schema."),
    Code.UNKNOWN_FIELD: _info(422, "The request has a field that the schema does not know."),
    Code.NOT_FOUND: _info(404, "No such thing, or not yours to see."),
    Code.LOOP_DETECTED: _info(508, "A tool server's URL leads back to this gateway."),
    Code.METHOD_NOT_ALLOWED: _info(405, "The path exists, but not with this method."),
    Code.CONFLICT: _info(409, "The state of the thing does not allow this."),
    Code.UNAUTHENTICATED: _info(401, "No key, or one that is unknown, expired or revoked."),
    Code.FORBIDDEN: _info(403, "The key lacks the scope this needs."),
    Code.RATE_LIMITED: _info(429, "Too many calls; wait `retry_after_s` seconds.", retry=True),
    Code.PAYLOAD_TOO_LARGE: _info(413, "The request is larger than the server accepts."),
    Code.CONFIG_INVALID: _info(500, "A setting or `mcp_config.yaml` has a mistake."),
    Code.NOT_READY: _info(503, "The process is still starting.", retry=True),
    Code.ISSUER_UNAVAILABLE: _info(
        503, "The keys that verify access tokens cannot be fetched.", retry=True
    ),
    Code.HUB_UNAVAILABLE: _info(503, "The database cannot be reached or started.", retry=True),
    Code.HUB_DISK_FULL: _info(507, "The disk that holds the database is full.", retry=True),
    Code.HUB_NOT_WRITABLE: _info(503, "The home folder cannot be written."),
    Code.HUB_VERSION_MISMATCH: _info(503, "The data folder belongs to another PostgreSQL version."),
    Code.HUB_LOCKED: _info(503, "Another process holds the database's start lock.", retry=True),
    Code.INSUFFICIENT_CREDITS: _info(402, "The wallet holds less than the quote."),
    Code.CREDITS_EXHAUSTED: _info(402, "A run reached its cap, or its wallet has no more for it."),
    Code.PRICE_UNKNOWN: _info(409, "No price is published for this template or tool."),
    Code.HOLD_UNKNOWN: _info(409, "There is no open hold of that id."),
    Code.TEMPLATE_UNKNOWN: _info(404, "There is no task template of that name."),
    Code.JOB_CANCELLED: _info(409, "The job was cancelled."),
    Code.JOB_FINISHED: _info(409, "The job has ended already."),
    Code.LEASE_LOST: _info(409, "Another worker has taken the job over.", retry=True),
    Code.IDEMPOTENCY_MISMATCH: _info(409, "The idempotency key was used with another request."),
    Code.CHECK_FAILED: _info(422, "The evaluator refused the result."),
    Code.QUESTION_EXPIRED: _info(409, "Nobody answered the workflow's question in time."),
    Code.ATTEMPTS_EXHAUSTED: _info(500, "The job failed at every attempt and was put aside."),
    Code.TOOL_UNKNOWN: _info(404, "There is no tool of that name."),
    Code.TOOL_DISABLED: _info(409, "The tool is not approved or was switched off."),
    Code.TOOL_DEFINITION_CHANGED: _info(409, "The tool is not the one that was approved."),
    Code.TOOL_SERVER_DOWN: _info(502, "The tool's server is not running.", retry=True),
    Code.TOOL_TIMEOUT: _info(504, "The tool did not answer in its time.", retry=True),
    Code.TOOL_OUTPUT_TOO_LARGE: _info(502, "The tool's answer is larger than allowed."),
    Code.TOOL_PROTOCOL_ERROR: _info(502, "The tool's server does not speak MCP as it must."),
    Code.TOOL_FAILED: _info(422, "The tool reported an error of its own."),
    Code.TOOL_DEFINITION_REFUSED: _info(422, "The scan of a tool's definition found something."),
    Code.EMBEDDING_FAILED: _info(502, "The embedding service cannot be asked.", retry=True),
    Code.SECRET_MISSING: _info(409, "The tool's server needs a secret that is not set."),
    Code.SECRET_REFUSED: _info(409, "The tool's server turned down the secret or account."),
    Code.SECRET_UNREADABLE: _info(409, "A stored secret, or the key it is under, was changed."),
    Code.KEYS_UNAVAILABLE: _info(503, "The keys of secrets cannot be reached.", retry=True),
    Code.CONNECTION_REQUIRED: _info(409, "The tool's server needs your account to be connected."),
    Code.OAUTH_FAILED: _info(502, "An authorization server refuses or misbehaves.", retry=True),
    Code.SANDBOX_UNAVAILABLE: _info(503, "Code cannot be isolated here; `uaol doctor` says why."),
    Code.SANDBOX_REQUIREMENT_UNKNOWN: _info(422, "A required package is not installed here."),
    Code.SANDBOX_REQUIREMENT_REFUSED: _info(422, "A required package is broken or too large."),
    Code.SANDBOX_FAILED: _info(502, "The sandbox itself failed; nothing is charged.", retry=True),
    Code.SANDBOX_SESSION_ENDED: _info(409, "The session of the sandbox is over; begin another."),
    Code.SANDBOX_SESSION_BUSY: _info(
        409, "The session runs another task, or no more can be opened now.", retry=True
    ),
    Code.STORAGE_FULL: _info(507, "The disk that holds the files is full.", retry=True),
    Code.LINK_INVALID: _info(403, "The link or step is wrong, used up or has expired."),
    Code.EMPTY_FILE: _info(422, "The file is empty."),
    Code.FILE_TOO_LARGE: _info(413, "The file, or what it unpacks to, is larger than allowed."),
    Code.NOT_A_SEQUENCE: _info(422, "The file is not GenBank, EMBL, FASTA or 2bit."),
    Code.PROTEIN_NOT_DNA: _info(422, "The file holds protein where DNA is needed."),
    Code.GENE_NOT_FOUND: _info(422, "The record has no such gene."),
    Code.NO_CODING_SEQUENCE: _info(422, "The record has no CDS to knock out."),
    Code.NO_PAM_SITE: _info(422, "The coding part has no PAM."),
    Code.BAD_LOCATION: _info(422, "The location cannot be read or lies outside the record."),
    Code.UNKNOWN_VECTOR: _info(422, "The vector is not one of those known."),
    Code.VECTOR_SITE_MISSING: _info(422, "The vector lacks the two cloning sites."),
    Code.NO_PRIMERS: _info(422, "No primer pair meets the conditions."),
    Code.NO_GUIDE: _info(422, "No guide passes every rule."),
}


class AppError(Exception):
    """An error with a stable code, a sentence for people and, where it helps, what to do next."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        hint: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
        self.details = dict(details or {})

    @property
    def status(self) -> int:
        """HTTP status of the code."""
        return CODES[self.code].status

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later without a change."""
        return CODES[self.code].is_retryable

    def as_dict(self) -> dict[str, Any]:
        """The JSON form shared by every surface, the trace and the job row."""
        body: dict[str, Any] = {"code": self.code.value, "message": self.message}
        if self.hint:
            body["hint"] = self.hint
        if self.details:
            body["details"] = self.details
        return body


def app_error(code: str, message: str, hint: str | None = None) -> AppError:
    """An `AppError` from a code that came over a wire; an unknown one becomes `tool_failed`."""
    try:
        known = Code(code)
    except ValueError:
        return AppError(Code.TOOL_FAILED, message, hint=hint, details={"reported_code": code})
    return AppError(known, message, hint=hint)
