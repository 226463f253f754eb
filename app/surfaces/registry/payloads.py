"""What developers and operators send about servers."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from app.registry import Deprecation, Offer, SecretArgument, Setup, ToolOffer, UpstreamOAuth
from app.surfaces.payloads import Payload, Text

MOST_MICRO = 10**12
Slug = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=64),
    Field(description="Begins the tools' names: a lower-case letter, then a-z 0-9 _ -."),
]
FullName = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
VersionName = Annotated[Text, StringConstraints(min_length=1, max_length=255)]
Reason = Annotated[Text, StringConstraints(min_length=1, max_length=500)]
_Micro = Annotated[int, Field(ge=0, le=MOST_MICRO, description="Micro-credits of one call.")]
_Seconds = Annotated[float, Field(gt=0, le=3600, description="Longest time of a call.")]
_Rate = Annotated[int, Field(ge=1, le=10**6, description="Calls a minute.")]
_Value = Annotated[Text, StringConstraints(max_length=2000)]
_ToolName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,94}$")]
_Word = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class ToolOfferIn(Payload):
    """What sets one tool apart from its server's other tools."""

    price_micro: _Micro | None = None
    timeout_s: _Seconds | None = None
    calls_per_minute: _Rate | None = None


class OfferIn(Payload):
    """Terms of a server's tools; a change applies to new quotes only."""

    price_micro: _Micro = 0
    timeout_s: _Seconds | None = None
    calls_per_minute: Annotated[_Rate | None, Field(description="Of all its tools.")] = None
    tools: Annotated[dict[_ToolName, ToolOfferIn], Field(max_length=500)] = Field(
        default_factory=dict, description="Single tools, by their names without the server's."
    )

    def read(self) -> Offer:
        """The offer."""
        tools = {name: ToolOffer(**tool.model_dump()) for name, tool in self.tools.items()}
        return Offer(self.price_micro, self.timeout_s, self.calls_per_minute, tools)


class OAuthIn(Payload):
    """The server's users connect their own accounts."""

    scopes: Annotated[list[_Word], Field(max_length=50)] = Field(default_factory=list)
    client_id: _Word | None = None


class SecretArgumentIn(Payload):
    """The secret that fills an argument; it is of the server's `secret_scope`."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")]
    required: bool = True


class ServerIn(Payload):
    """A server.json (schema 2025-12-11), and what it leaves open."""

    server: Annotated[
        dict[str, Any], Field(description="The server.json; it needs a remote of its own.")
    ]
    values: Annotated[dict[_Word, _Value], Field(max_length=100)] = Field(
        default_factory=dict,
        description="Values of URL variables and of headers that hold no secret, by name.",
    )
    era: Annotated[
        Literal["auto", "modern", "legacy"], Field(description="`auto` asks the server.")
    ] = "auto"
    secret_scope: Annotated[
        Literal["user", "project", "developer"],
        Field(description="Whose secrets fill the secret headers."),
    ] = "user"
    oauth: OAuthIn | None = None
    secret_arguments: Annotated[
        dict[_ToolName, Annotated[dict[_Word, SecretArgumentIn], Field(max_length=20)]],
        Field(max_length=100),
    ] = Field(
        default_factory=dict,
        description="Arguments that are filled with secrets and that callers do not see: by tool"
        " and argument.",
    )

    def setup(self) -> Setup:
        """What completes the server.json."""
        oauth = self.oauth
        return Setup(
            self.values,
            self.era,
            self.secret_scope,
            None if oauth is None else UpstreamOAuth(tuple(oauth.scopes), oauth.client_id),
            tuple(
                SecretArgument(tool, argument, each.name, self.secret_scope, each.required)
                for tool, entries in self.secret_arguments.items()
                for argument, each in entries.items()
            ),
        )


class NewServerIn(ServerIn):
    """A server to register, with its slug and its terms."""

    slug: Slug
    offer: OfferIn = Field(default_factory=OfferIn)


class SubmitIn(Payload):
    """What is needed to look at the server once."""

    headers: Annotated[
        dict[_Word, SecretStr],
        Field(max_length=20, description="Values of secret headers, used once and not kept."),
    ] = Field(default_factory=dict)


class ReasonIn(Payload):
    """Why; the developer reads it."""

    reason: Reason


class DeprecationIn(Payload):
    """Why a server or tool will go; without a message it stays after all."""

    message: Annotated[
        Annotated[Text, StringConstraints(min_length=1, max_length=300)] | None,
        Field(description="Null takes the deprecation back."),
    ] = None
    successor: Annotated[
        FullName | None, Field(description="A server's slug or a tool's full name.")
    ] = None

    @model_validator(mode="after")
    def _has_message(self) -> Self:
        if self.successor is not None and self.message is None:
            raise ValueError("a successor needs a message")
        return self

    def read(self) -> Deprecation | None:
        """The deprecation, or None."""
        return None if self.message is None else Deprecation(self.message, self.successor)
