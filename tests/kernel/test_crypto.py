"""Key files: made once, whole, and for their owner's eyes only."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.kernel.crypto import load_or_create_key
from app.kernel.errors import AppError, Code


def test_a_key_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "secrets" / "link.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert load_or_create_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list(path.parent.iterdir()) == [path]
    assert load_or_create_key(tmp_path / "other.key") != key


def test_all_who_race_get_the_same_key(tmp_path: Path) -> None:
    for round_number in range(20):
        path = tmp_path / str(round_number) / "link.key"
        with ThreadPoolExecutor(8) as pool:
            keys = set(pool.map(load_or_create_key, [path] * 8))
        assert len(keys) == 1
        assert list(path.parent.iterdir()) == [path]


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.key"
    load_or_create_key(path)
    path.chmod(0o640)
    with pytest.raises(AppError, match="can be read by others") as caught:
        load_or_create_key(path)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "chmod 600" in str(caught.value.hint)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_what_is_no_key_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "link.key"
    path.write_bytes(bytes(size))
    path.chmod(0o600)
    with pytest.raises(AppError) as caught:
        load_or_create_key(path)
    assert caught.value.code is Code.CONFIG_INVALID
    assert path.stat().st_size == size


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.STORAGE_FULL),
        (errno.EDQUOT, Code.STORAGE_FULL),
        (errno.EROFS, Code.HUB_NOT_WRITABLE),
    ],
)
def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: Code
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(AppError) as caught:
        load_or_create_key(tmp_path / "link.key")
    assert caught.value.code is code
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text("")
    with pytest.raises(AppError) as caught:
        load_or_create_key(tmp_path / "secrets" / "link.key")
    assert caught.value.code is Code.HUB_NOT_WRITABLE
