"""Data sets: named by the operator, checked at start, described, listed, and read-only inside."""

import json
import os
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.volumes import Volumes, open_volumes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("hg38", "ecoli"):
        (tmp_path / "data" / name / "sub").mkdir(parents=True)
        (tmp_path / "data" / name / "genome.fa").write_text(f">{name}\nACGT\n")
        (tmp_path / "data" / name / "sub" / "index.bin").write_bytes(bytes(100))
    return tmp_path / "data"


def refusal(setting: str, secret: tuple[Path, ...] = ()) -> AppError:
    with pytest.raises(AppError) as caught:
        open_volumes(setting, secret)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "UAOL_SANDBOX_VOLUMES" in caught.value.message
    assert caught.value.hint
    return caught.value


def test_without_a_setting_there_are_none() -> None:
    for setting in (None, "", "  "):
        volumes = open_volumes(setting)
        assert (volumes.all(), volumes.mounts, volumes.describe()) == ((), (), "")


def test_a_folder_of_folders(folder: Path) -> None:
    (folder / ".hidden").mkdir()
    (folder / "lost+found").mkdir()
    (folder / "readme.txt").write_text("no folder")
    facts = {"hg38": {"title": "Human genome", "description": "GRCh38.p14", "licence": "open"}}
    (folder / "volumes.json").write_text(json.dumps(facts))
    volumes = open_volumes(str(folder))
    assert [(mount.source, mount.target) for mount in volumes.mounts] == [
        (folder / "ecoli", "/data/ecoli"), (folder / "hg38", "/data/hg38"),
    ]  # fmt: skip
    assert volumes.describe() == (
        "Read-only data sets: /data/ecoli; /data/hg38 (Human genome, GRCh38.p14, licence: open)."
    )


def test_a_json_object(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder / "hg38")
    setting = {
        "short": str(folder / "ecoli"),
        "long": {"path": str(tmp_path / "link"), "title": "T"},
    }
    volumes = open_volumes(json.dumps(setting))
    long = volumes.get("long")
    assert long is not None
    assert (long.path, long.title, long.target) == (folder / "hg38", "T", "/data/long")
    assert volumes.get("absent") is None


def test_the_listing_has_names_and_sizes(folder: Path) -> None:
    place = folder / "hg38"
    (place / "same").symlink_to("genome.fa")
    (place / "passwd").symlink_to("/etc/passwd")
    (place / "etc").symlink_to("/etc")
    (place / "loop").symlink_to("loop")
    os.mkfifo(place / "fifo")
    Path(os.fsdecode(os.fsencode(place) + b"/bad-\xff")).write_text("x")
    volume = open_volumes(str(folder)).get("hg38")
    assert volume is not None
    assert volume.listing() == {
        "name": "hg38", "mounted_at": "/data/hg38", "is_complete": True,
        "files": [
            {"name": "genome.fa", "size": 11}, {"name": "same", "size": 11},
            {"name": "sub/index.bin", "size": 100},
        ],
    }  # fmt: skip


def test_a_long_listing_says_that_it_is_cut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sandbox.volumes._LISTED", 1)
    volume = open_volumes(str(folder)).get("hg38")
    assert volume is not None
    listing = volume.listing()
    assert (len(listing["files"]), listing["is_complete"]) == (1, False)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/etc", "/etc/ssl", "/proc", "/proc/self", "/sys", "/dev", "/run", "/boot", "/var",
        "relative", "/nonexistent/folder", "/usr/bin/env",
    ],
)  # fmt: skip
def test_no_place_of_the_system(path: str) -> None:
    assert "volume" in refusal(json.dumps({"data": path})).details


def test_neither_the_home_nor_secrets(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "people" / "me"
    (home / ".ssh").mkdir(parents=True)
    (home / "genomes").mkdir()
    monkeypatch.setenv("HOME", str(home))
    for place in (home, home.parent, home / ".ssh"):
        refusal(json.dumps({"data": str(place)}))
    (folder / "sneaky").symlink_to(home)
    refusal(str(folder))
    assert open_volumes(json.dumps({"data": str(home / "genomes")})).all()
    for secret in (home / "genomes", home / "genomes" / "deeper", home):
        secret.mkdir(exist_ok=True)
        refusal(json.dumps({"data": str(home / "genomes")}), (secret,))


def test_it_can_be_read_by_sandboxed_code(folder: Path) -> None:
    (folder / "hg38").chmod(0o700)
    if os.geteuid() == 0:
        refusal(str(folder))
    else:
        assert open_volumes(str(folder)).all()


@pytest.mark.parametrize("name", ["", "A", "a/b", "..", ".a", "a b", "-a", "a\n", "é", "x" * 64])
def test_names_are_plain(name: str, folder: Path) -> None:
    refusal(json.dumps({name: str(folder / "hg38")}))


@pytest.mark.parametrize(
    "setting",
    [
        "{", '{"a": 1}', '{"a": {}}', '{"a": {"path": 1}}', '{"a": {"path": "/x", "extra": 1}}',
        '{"a": {"path": "/x", "title": "two\\nlines"}}', '{"a": {"path": "/x", "title": 3}}',
        '{"a": null}', "/nonexistent", "[]",
    ],
)  # fmt: skip
def test_a_setting_with_a_mistake_is_named(setting: str) -> None:
    refusal(setting)


@pytest.mark.parametrize("text", ["[]", "{", '{"absent": {}}', '{"hg38": {"colour": "red"}}'])
def test_descriptions_with_a_mistake(folder: Path, text: str) -> None:
    (folder / "volumes.json").write_text(text)
    refusal(str(folder))


def test_an_empty_folder_is_no_volume(tmp_path: Path) -> None:
    assert open_volumes(str(tmp_path)).all() == Volumes().all()
