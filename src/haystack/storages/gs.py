"""Google Cloud Storage by Google's own client: checksums both ways, and errors that name the missing role."""

from __future__ import annotations

from pathlib import Path

from haystack.specs import StorageSpec


class GoogleStore:
    """`gs://bucket/object`."""

    def upload(self, source: Path, address: str) -> None:
        """Copy a file there."""
        from haystack.gcp import storage

        storage.upload(source, address)

    def download(self, address: str, target: Path) -> None:
        """Copy a file from there; it appears whole or not at all."""
        from haystack.gcp import storage

        storage.download(address, target)

    def read(self, address: str) -> bytes | None:
        """Content of a small file; None where there is none."""
        from haystack.gcp import storage
        from haystack.gcp.errors import MissingObjectError

        try:
            return storage.read_bytes(address)[0]
        except MissingObjectError:
            return None

    def exists(self, address: str) -> bool:
        """Whether there is such a file."""
        from haystack.gcp import storage

        return storage.exists(address)

    def delete(self, address: str) -> None:
        """Delete a file; one that is gone is no error."""
        from haystack.gcp import storage

        storage.delete(address)

    def list(self, folder: str) -> list[str]:
        """Addresses of all files below a folder, sorted."""
        from haystack.gcp import storage

        return storage.list_objects(f"{folder.rstrip('/')}/")

    def holds(self, address: str, source: Path) -> bool:
        """Whether the file there has the content of a local one, by CRC32C."""
        from haystack.gcp import storage

        return storage.checksum(address) == _crc32c(source)


def _crc32c(path: Path) -> str:
    """Base64 of the big-endian CRC32C, as Cloud Storage gives it."""
    import base64

    import google_crc32c

    checksum = google_crc32c.Checksum()
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            checksum.update(block)
    return base64.b64encode(checksum.digest()).decode()


SPEC = StorageSpec(name="gs", title="Google Cloud Storage", provider="gcs", open=GoogleStore)
