"""People, their keys and files, and what the platform notes about them."""

from uuid import UUID, uuid4

from app.auth.tables import ApiKeyRow, McpTicketRow, ProjectRow, UserIdentityRow, UserRow
from app.kernel.tables import AuditRow, OutboxRow
from app.proxy.oauth.tables import OAuthConnectionRow, OAuthFlowRow
from app.storage.tables import FileRow
from app.vault.tables import VaultSealedRow, VaultSecretRow
from tests.factories.kind import NOON, Factory, Row, Values


def _user(user_id: UUID) -> Values:
    return {"user_id": user_id, "email": f"{user_id}@example.org"}


def _project(user_id: UUID) -> Values:
    return {"project_id": uuid4(), "user_id": user_id, "name": "Globins"}


def _api_key(user_id: UUID) -> Values:
    return {
        "key_id": uuid4(),
        "user_id": user_id,
        "name": "laptop",
        "prefix": "uaol_abc",
        "secret_hash": uuid4().bytes * 2,
        "scopes": ["jobs"],
    }


def _identity(user_id: UUID) -> Values:
    return {"issuer": "https://login.example", "subject": uuid4().hex, "user_id": user_id}


def _ticket(user_id: UUID) -> Values:
    return {
        "ticket_hash": uuid4().bytes * 2,
        "user_id": user_id,
        "scopes": ["jobs"],
        "client": "key",
        "expires_at": NOON,
    }


def _file(user_id: UUID) -> Values:
    return {
        "file_id": uuid4(),
        "user_id": user_id,
        "kind": "input",
        "name": "hbb.gb",
        "media_type": "text/plain",
        "size": 1,
        "sha256": "0" * 64,
    }


def _vault_secret(user_id: UUID) -> Values:
    return {
        "secret_id": uuid4(),
        "user_id": user_id,
        "scope": "user",
        "holder": user_id,
        "name": f"TOKEN_{uuid4().hex}",
        "version": 1,
    }


def _vault_sealed(_user_id: UUID) -> Values:
    return {"version": 1, "kek_id": "local:0", "wrapped": b"w" * 60, "ciphertext": b"c" * 40}


def _connection(user_id: UUID) -> Values:
    return {
        "user_id": user_id,
        "server": f"notes-{uuid4().hex}",
        "origin": "https://notes.example",
        "issuer": "https://as.example",
    }


def _flow(user_id: UUID) -> Values:
    return {
        "flow_id": uuid4(),
        "user_id": user_id,
        "server": "notes",
        "state_hash": uuid4().bytes * 2,
        "browser_hash": uuid4().bytes * 2,
        "kek_id": "local:0",
        "wrapped": b"w" * 60,
        "ciphertext": b"c" * 40,
        "expires_at": NOON,
    }


def _outbox(_user_id: UUID) -> Values:
    return {"event_id": uuid4(), "name": "auth.user_created", "payload": {}}


def _audit(user_id: UUID) -> Values:
    return {
        "entry_id": uuid4(),
        "user_id": user_id,
        "actor": f"user:{user_id}",
        "action": "auth.key_issued",
        "subject": "key:1",
        "details": {},
    }


FACTORIES: dict[Row, Factory] = {
    ApiKeyRow: _api_key,
    AuditRow: _audit,
    FileRow: _file,
    McpTicketRow: _ticket,
    OAuthConnectionRow: _connection,
    OAuthFlowRow: _flow,
    OutboxRow: _outbox,
    ProjectRow: _project,
    UserIdentityRow: _identity,
    UserRow: _user,
    VaultSealedRow: _vault_sealed,
    VaultSecretRow: _vault_secret,
}
