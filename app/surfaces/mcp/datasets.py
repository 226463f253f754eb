"""The sandbox's data sets as MCP resources: each and its files, for every signed-in user."""

import asyncio
from typing import Any
from urllib.parse import unquote

import orjson

from app.sandbox import Volume, Volumes

BASE = "uaol://volumes/"
TEMPLATE = {
    "uriTemplate": BASE + "{volume}",
    "name": "volume",
    "description": "A read-only data set of the sandbox and its files with their sizes, as JSON.",
    "mimeType": "application/json",
}


class DataSets:
    """Lists and reads them."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes

    def names(self) -> list[str]:
        """Every name, sorted."""
        return [volume.name for volume in self._volumes.all()]

    def entries(self) -> list[dict[str, Any]]:
        """All of them, as `resources/list` shows them."""
        return [_entry(volume) for volume in self._volumes.all()]

    async def read(self, uri: str) -> str | None:
        """The JSON of the data set that `uri` names; None if there is no such."""
        volume = self._volumes.get(unquote(uri.removeprefix(BASE)))
        if volume is None or not uri.startswith(BASE):
            return None
        return orjson.dumps(await asyncio.to_thread(volume.listing)).decode()


def _entry(volume: Volume) -> dict[str, Any]:
    shown = {
        "uri": BASE + volume.name,
        "name": volume.name,
        "title": volume.title or f"Data set {volume.name}",
        "mimeType": "application/json",
    }
    licence = f"Licence: {volume.licence}." if volume.licence else ""
    told = " ".join(fact for fact in (volume.description, licence) if fact)
    return shown | {"description": f"{told} In the sandbox: {volume.target}.".strip()}
