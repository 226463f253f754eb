"""All settings in one frozen class, read from the environment (prefix `UAOL_`).

Every field is documented in `docs/reference/settings.md`; a test refuses one that is not.
"""

from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """The process's settings. Sizes are bytes, times are seconds, credits are whole credits."""

    model_config = SettingsConfigDict(env_prefix="UAOL_", frozen=True, extra="ignore")

    home: Path = Field(Path(".uaol"), description="Folder of the embedded hub, files and secrets.")
    database_url: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("DATABASE_URL", "UAOL_DATABASE_URL"),
        description="A PostgreSQL or Supabase to use instead of the embedded hub.",
    )
    postgres_version: int = Field(18, description="Major version of the embedded hub: 16 or 18.")
    postgres_tcp_port: int | None = Field(
        None, description="Also serve the embedded hub on this loopback port (scram)."
    )
    postgres_shared_buffers: str = Field("256MB", description="Memory of the embedded hub.")
    db_pool_size: int = Field(20, description="Database connections kept by one process.")

    host: str = Field("127.0.0.1", description="Address the server listens on.")
    port: int = Field(8765, description="Port the server listens on; 0 takes a free one.")
    public_url: str | None = Field(None, description="URL that clients use, if not host:port.")
    allowed_hosts: list[str] = Field(
        default_factory=list, description="Further Host headers MCP accepts (JSON list)."
    )
    allowed_origins: list[str] = Field(
        default_factory=list, description="Browser origins allowed to call (JSON list)."
    )

    jwt_issuer: str | None = Field(
        None, description="Issuer of the JWTs accepted beside API keys; without it there are none."
    )
    jwt_audience: str | None = Field(
        None, description="Audience that a JWT must name, if not the public URL with `/mcp`."
    )
    jwt_jwks_url: str | None = Field(
        None, description="The issuer's key set, for RS256 and ES256 (https)."
    )
    jwt_secret: SecretStr | None = Field(
        None, description="Secret shared with the issuer, for HS256; 32 bytes or more."
    )
    jwt_leeway: float = Field(
        30.0, ge=0, le=300, description="Seconds by which the issuer's clock may differ."
    )
    jwt_default_scopes: list[str] = Field(
        default_factory=list, description="Scopes of a JWT that names none (JSON list)."
    )
    jwt_sign_up: bool = Field(
        False,
        description="Make an account at the first visit of a JWT's subject whose e-mail address"
        " the issuer verified, or link the account of that address.",
    )
    jwt_allow_private: bool = Field(
        False,
        description="Let the key set's URL use plain http and an address that is not public; for"
        " development and tests only.",
    )
    authorization_servers: list[str] = Field(
        default_factory=list,
        description="Authorization servers that MCP clients are told of, if not the issuer (JSON"
        " list).",
    )

    mcp_legacy_sessions: Literal["sticky", "stateless"] = Field(
        "sticky",
        description="Sessions of MCP clients before 2026-07-28. `sticky`: one process holds each,"
        " route by Mcp-Session-Id. `stateless`: any process answers, without streams of the server"
        " and without `/sse`.",
    )
    mcp_streams: int = Field(
        20_000, ge=1, description="WebSockets, SSE streams and live traces that one process holds."
    )
    mcp_streams_per_user: int = Field(100, ge=1, description="Of these, one user's.")
    mcp_sessions: int = Field(
        10_000, ge=1, description="MCP sessions (before 2026-07-28) of one process, at each door."
    )
    mcp_sessions_per_user: int = Field(1000, ge=1, description="Of these, one user's.")
    mcp_stream_calls: int = Field(64, ge=1, description="Requests under way on one WebSocket.")
    mcp_stream_seconds: float = Field(
        43_200.0, ge=0, description="Longest life of a WebSocket or SSE stream."
    )

    mcp_config: Path = Field(Path("mcp_config.yaml"), description="The tool servers' config file.")
    mcp_page_size: int = Field(
        1000, ge=1, le=10_000, description="Tools, prompts or templates on one page of an MCP list."
    )
    upload_limit: int = Field(256 * 2**20, description="Largest upload in bytes.")
    request_limit: int = Field(16 * 2**20, description="Largest JSON request in bytes.")
    stall_seconds: float = Field(
        30.0, gt=0, description="A client that stalls so long in a request or an answer is cut off."
    )
    link_ttl: int = Field(900, description="Seconds a signed download link is valid.")

    request_state_keys: SecretStr | None = Field(
        None,
        description="Secrets that seal `requestState` of MCP, with commas between, the first for"
        " new ones. Without them a key file in the home folder.",
    )
    listen_streams: int = Field(20_000, description="Open MCP subscriptions of one process.")
    listen_streams_per_user: int = Field(
        1_000, description="Open MCP subscriptions of one user in one process."
    )

    worker_concurrency: int = Field(4, description="Jobs one worker runs at once.")
    lane_capacity: int = Field(1000, description="Single-tool jobs one worker holds at once.")
    lease_seconds: float = Field(30.0, description="A job's lease; renewed at a third of it.")
    poll_seconds: float = Field(1.0, description="Longest wait for work when no wake-up arrives.")
    max_attempts: int = Field(5, description="Runs of a job before it is put aside as Dead.")
    backoff_seconds: float = Field(1.0, description="First wait before a retry; it doubles.")

    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days for which ended jobs are kept, with traces, steps, keys and artifacts;"
        " 0 keeps them for ever.",
    )

    redis_url: SecretStr | None = Field(
        None,
        description="A Redis that tells workers what to claim, keeps rate limits over all processes"
        " and carries their wake-ups: `redis[s]://host:port`, or such addresses of some nodes of a"
        " Redis Cluster, with commas between. Without it workers ask PostgreSQL, which also carries"
        " wake-ups, and limits hold per process.",
    )
    redis_prefix: str = Field(
        "uaol", description="First part of the names used there; one for each database."
    )
    redis_replicas: int = Field(
        4,
        ge=1,
        description="Processes that share rate limits, at least: while Redis is away, each keeps"
        " to its part of them.",
    )

    calls_per_minute: int = Field(600, description="Tool calls a user may make per minute.")
    tool_calls_per_minute: int = Field(3000, description="Calls one tool takes per minute.")
    tool_timeout: float = Field(120.0, description="Seconds a tool call may take by default.")
    tool_output_limit: int = Field(32 * 2**20, description="Largest answer of a tool in bytes.")

    sandbox_executor: str = Field(
        "auto",
        description="`auto` (docker, else bubblewrap, else none) or the name of one executor:"
        " `docker`, `bubblewrap`, `kubernetes` or `sandboxd`.",
    )
    sandbox_wall_seconds: float = Field(60.0, description="Longest wall time of sandboxed code.")
    sandbox_memory: int = Field(2 * 2**30, description="Memory of sandboxed code in bytes.")
    sandbox_wheelhouse: Path | None = Field(
        None, description="Folder of wheels from which required packages may be installed."
    )
    sandbox_index: SecretStr | None = Field(
        None,
        description="Package index (its `simple` page) from which wheels may be fetched; without"
        " it nothing is.",
    )
    sandbox_layers: int = Field(50, ge=1, description="Sets of installed packages that are kept.")
    sandbox_layer_bytes: int = Field(
        2**30, ge=2**20, description="Largest set of installed packages, in bytes."
    )
    sandbox_volumes: str | None = Field(
        None,
        description="Data sets that sandboxed code finds in /data, read-only: a folder of folders,"
        " or JSON of names to paths.",
    )
    sandbox_pool_least: int = Field(
        1, ge=0, le=100, description="Sandboxes of each kind that wait for a task at all times."
    )
    sandbox_pool_most: int = Field(
        8, ge=0, le=1000, description="Sandboxes of one kind that wait at most; 0 is no pool."
    )
    sandbox_pool_memory: int = Field(
        512 * 2**20, ge=0, description="Memory of all sandboxes that wait, in bytes (estimated)."
    )
    sandbox_pool_idle_seconds: float = Field(
        600.0, gt=0, description="A sandbox that waited so long is replaced by a fresh one."
    )
    sandbox_sessions: int = Field(
        16, ge=0, description="Sessions of sandboxed code open at once in one process."
    )
    sandbox_sessions_per_user: int = Field(2, ge=1, description="Of these, one user's or job's.")
    sandbox_session_idle_seconds: float = Field(
        600.0, gt=0, description="A session that was not used for so long ends."
    )
    sandbox_session_seconds: float = Field(3600.0, gt=0, description="Longest life of a session.")
    sandbox_root: Path | None = Field(
        None,
        description="Folder with a whole system for bubblewrap's sandboxes, as made by"
        " `python -m sandbox.image --only root`; without it they see the server's own Python.",
    )
    sandbox_image: str = Field(
        "", description="Docker image of the sandbox, if not the one built from this source."
    )
    sandbox_runtime: str = Field(
        "", description="Docker runtime of the sandbox (`runc`, `runsc`, `kata`); empty: runc."
    )
    sandbox_docker_socket: str = Field(
        "", description="Path of the Docker engine's socket, if not the usual one."
    )
    sandbox_egress: Path | None = Field(
        None,
        description="YAML file of egress policies beside `bio`, the public bio databases; null"
        " takes one away.",
    )
    sandbox_daemon: str | None = Field(
        None,
        description="Where `uaol sandboxd` listens, and where the server asks it to run code in"
        " place of an executor of its own: `unix:/path` or `tcp:host:port`.",
    )
    sandbox_daemon_token_file: Path | None = Field(
        None, description="File with the token that sandboxd asks for; needed for `tcp:`."
    )
    sandbox_k8s_image: str = Field(
        "", description="Image of the sandbox's pods on Kubernetes; needed for `kubernetes`."
    )
    sandbox_k8s_namespace: str = Field(
        "uaol-sandbox", description="Namespace of these pods, which holds nothing else."
    )
    sandbox_k8s_context: str | None = Field(
        None, description="Context of the kubeconfig, if not its current one."
    )
    sandbox_k8s_runtime_class: str | None = Field(
        None, description="RuntimeClass of these pods, such as `gvisor` or `kata`."
    )
    sandbox_k8s_seccomp: str | None = Field(
        None, description="Seccomp profile on the nodes, below the kubelet's folder of profiles."
    )
    sandbox_k8s_user_namespaces: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether each pod has a user namespace of its own; `auto` from Kubernetes 1.33"
        " on, without a RuntimeClass.",
    )
    sandbox_k8s_cpu: float = Field(1.0, gt=0, le=64, description="CPUs of one of these pods.")
    sandbox_k8s_pod_seconds: int = Field(
        7200,
        ge=60,
        description="Longest life of one of these pods, whatever happens to the server.",
    )
    sandbox_k8s_claims: dict[str, str] = Field(
        default_factory=dict,
        description="Data volumes on Kubernetes: folder in the sandbox to the name of a"
        " PersistentVolumeClaim there (JSON object).",
    )

    webhook_allow_private: bool = Field(
        False,
        description="Let webhooks use plain http and addresses that are not public; for"
        " development and tests only.",
    )

    servers_allow_private: bool = Field(
        False,
        description="Let registered servers use plain http and addresses that are not public; for"
        " development and tests only.",
    )

    vault_keys: str = Field(
        "local", description="Where the keys of secrets are: `local`, `hashicorp` or `aws`."
    )
    vault_key: str = Field(
        "uaol", description="Name of the key: in Vault's transit engine, or the alias in AWS KMS."
    )
    vault_address: str | None = Field(None, description="URL of HashiCorp Vault.")
    vault_token: SecretStr | None = Field(None, description="Token for HashiCorp Vault.")
    vault_region: str | None = Field(None, description="Region of AWS KMS, if not boto3's own.")

    embedding_url: str | None = Field(
        None,
        description="Base URL of a service with OpenAI's embeddings API; else WordLlama is used.",
    )
    embedding_model: str = Field(
        "text-embedding-3-small", description="The model asked of that service."
    )
    embedding_key: SecretStr | None = Field(None, description="Bearer key for that service.")

    demo_credits: int = Field(100, description="Credits granted to the local demo user.")
    log_level: str = Field("INFO", description="Level of the JSON log on standard error.")


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
