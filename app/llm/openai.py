"""Embeddings of a service that speaks OpenAI's API (`POST /v1/embeddings`)."""

from collections.abc import Sequence
from math import isfinite, sqrt
from urllib.parse import urlsplit

import httpx2

from app.kernel.errors import AppError, Code

# The most that OpenAI takes in one request is 300,000 tokens; of one text, 8,191.
_AT_ONCE = 32
_TIMEOUT_S = 30.0


class OpenAiEmbedder:
    """One HTTP client; the operator names the address, so it may be a private one."""

    def __init__(self, url: str, model: str, key: str | None) -> None:
        """`url` is the API's base, such as `https://host/v1`."""
        place = urlsplit(url)
        # Two services may call different models the same; what stands before an @ is secret.
        self.model = f"{model} of {place.netloc.rpartition('@')[2]}{place.path.rstrip('/')}"
        self._asks = model
        self._url = f"{url.rstrip('/')}/embeddings"
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """See `Embedder.embed`."""
        found: list[list[float]] = []
        async with httpx2.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
            for start in range(0, len(texts), _AT_ONCE):
                found += await self._asked(http, list(texts[start : start + _AT_ONCE]))
        return found

    async def _asked(self, http: httpx2.AsyncClient, texts: list[str]) -> list[list[float]]:
        body = {"model": self._asks, "input": texts, "encoding_format": "float"}
        try:
            answer = await http.post(self._url, json=body, headers=self._headers)
            answer.raise_for_status()
            rows = sorted(answer.json()["data"], key=lambda row: row["index"])
            vectors = [_unit([float(value) for value in row["embedding"]]) for row in rows]
        except httpx2.HTTPStatusError as error:
            raise _failed(f"answers with HTTP {error.response.status_code}") from error
        except httpx2.HTTPError as error:
            raise _failed(f"cannot be reached ({type(error).__name__})") from error
        except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
            raise _failed("answers with no embeddings") from error
        if len(vectors) != len(texts):
            raise _failed(f"gave {len(vectors)} vectors for {len(texts)} texts")
        return vectors


def _unit(vector: list[float]) -> list[float]:
    length = sqrt(sum(value * value for value in vector))
    if not isfinite(length):
        raise ValueError(length)
    return [value / length for value in vector]


def _failed(why: str) -> AppError:
    return AppError(
        Code.EMBEDDING_FAILED,
        f"The embedding service {why}.",
        hint="Try again; the operator sets UAOL_EMBEDDING_URL, _MODEL and _KEY.",
    )
