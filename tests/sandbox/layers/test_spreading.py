"""What a sandbox gives back as a layer is not believed: a tar of plain files, or nothing."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.layers.installing import Draft, spread

MOST, FILES = 10_000, 5


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


def tar_of(*entries: tarfile.TarInfo, content: bytes = b"") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for one in entries:
            one.size = len(content) if one.isreg() else 0
            tar.addfile(one, io.BytesIO(content))
    return data.getvalue()


def sparse() -> bytes:
    one = entry("sparse")
    one.pax_headers = {
        "GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(2**40), "GNU.sparse.name": "sparse",
    }  # fmt: skip
    return tar_of(one, content=b"x")


def claims(size: int) -> bytes:
    one = entry("big")
    one.pax_headers = {"size": str(size)}
    return tar_of(one)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "no tar": lambda: b"not a tar at all" * 100,
    "absolute": lambda: tar_of(entry("/etc/cron.d/x"), content=b"x"),
    "climbs": lambda: tar_of(entry("../../climbed"), content=b"x"),
    "climbs later": lambda: tar_of(entry("a/../../climbed"), content=b"x"),
    "dot": lambda: tar_of(entry("./a"), content=b"x"),
    "new line": lambda: tar_of(entry("a\nb"), content=b"x"),
    "symbolic link": lambda: tar_of(entry("a", tarfile.SYMTYPE, "/etc")),
    "hard link": lambda: tar_of(entry("a", tarfile.LNKTYPE, "/etc/passwd")),
    "folder": lambda: tar_of(entry("a", tarfile.DIRTYPE)),
    "device": lambda: tar_of(entry("a", tarfile.CHRTYPE)),
    "pipe": lambda: tar_of(entry("a", tarfile.FIFOTYPE)),
    "contiguous": lambda: tar_of(entry("a", tarfile.CONTTYPE)),
    "too large": lambda: tar_of(entry("a"), content=bytes(MOST + 1)),
    "too many": lambda: tar_of(*(entry(f"f{number}") for number in range(FILES + 1))),
    "too many folders": lambda: tar_of(entry("a/" * 8 + "f")),
    "sparse": sparse,
    "claims a terabyte": lambda: claims(2**40),
    "claims less than nothing": lambda: claims(-5),
    "cut short": lambda: tar_of(entry("a"), content=bytes(2000))[:1000],
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_only_plain_files_are_written(tmp_path: Path, trick: str) -> None:
    place = tmp_path / "deep" / "draft"
    place.mkdir(parents=True)
    with pytest.raises(AppError) as caught:
        spread(HOSTILE[trick](), Draft("0", place), MOST, FILES, "x 1")
    assert caught.value.code is Code.SANDBOX_FAILED
    written = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert all(path.is_relative_to(place) and not path.is_symlink() for path in written)
    assert sum(path.stat().st_size for path in written) <= MOST
    assert len(list(place.rglob("*"))) <= FILES


def test_folders_of_an_earlier_package_are_not_counted_again(tmp_path: Path) -> None:
    draft = Draft("0", tmp_path)
    for name in ("one", "two"):
        spread(tar_of(entry(f"a/b/c/d/{name}")), draft, MOST, FILES, "x 1")
    assert (draft.files, len(draft.folders)) == (2, 4)


def test_an_honest_tar(tmp_path: Path) -> None:
    draft = Draft("0", tmp_path)
    (tmp_path / "kept").write_text("of an earlier package")
    data = tar_of(entry("a/b/c.py"), entry("d.py"), entry("kept"), content=b"x = 1\n")
    spread(data, draft, MOST, FILES, "x 1")
    assert (draft.files, draft.size) == (2, 12)
    assert (tmp_path / "a/b/c.py").read_text() == "x = 1\n"
    assert (tmp_path / "kept").read_text() == "of an earlier package"
