"""Argument types shared by the tools, with the JSON Schema a client or a proxy reads."""

from typing import Annotated, Literal

from pydantic import Field

# "format": "file" tells a proxy in front of the server to put a local path here.
FilePath = Annotated[str, Field(min_length=1, json_schema_extra={"format": "file"})]
Strand = Literal["+", "-"]
Spacer = Annotated[str, Field(pattern="^[ACGTacgt]{20}$", description="20 nt, 5' to 3', no PAM")]
