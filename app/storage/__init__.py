"""Files: bytes stored by content, rows that say whose they are, links that expire."""

from app.storage.blobs import BlobStore, LocalBlobs
from app.storage.names import clean_name
from app.storage.service import Storage
from app.storage.types import Blob, Kind, StoredFile

__all__ = ["Blob", "BlobStore", "Kind", "LocalBlobs", "Storage", "StoredFile", "clean_name"]
