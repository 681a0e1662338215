"""Files with a tag: what is written is read again, and what is not ours is refused."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgefilter._files import new_file, read_tagged, replacing, write_tagged

TAG = "edgefilter test 1"


def test_tensors_and_values_come_back(tmp_path):
    """Tensors bit by bit, values as JSON has them."""
    values = torch.tensor([1.5, float("nan")], dtype=torch.float64)
    path = write_tagged(tmp_path / "a", {"values": values}, TAG, overwrite=False, names=["x", "y"], size=None)
    tensors, about = read_tagged(path, TAG, "Thing")
    torch.testing.assert_close(tensors, {"values": values}, rtol=0, atol=0, equal_nan=True)
    assert about == {"names": ["x", "y"], "size": None}


def test_a_file_is_replaced_only_if_asked(tmp_path):
    """The old one is as it was."""
    path = write_tagged(tmp_path / "a", {"x": torch.zeros(1)}, TAG, overwrite=False)
    with pytest.raises(FileExistsError, match=r"which exists. Pass overwrite=True."):
        write_tagged(path, {"x": torch.ones(1)}, TAG, overwrite=False)
    assert read_tagged(path, TAG, "Thing")[0]["x"] == 0
    write_tagged(path, {"x": torch.ones(1)}, TAG, overwrite=True)
    assert read_tagged(path, TAG, "Thing")[0]["x"] == 1


def test_a_folder_that_is_missing_is_named(tmp_path):
    """Before anything is written."""
    with pytest.raises(FileNotFoundError, match=r"path must lie in a folder that exists; got .*none"):
        new_file(tmp_path / "none" / "a", overwrite=False)


def test_what_is_no_file_of_ours_is_refused(tmp_path):
    """Nothing there, another format, another tag, and no tag at all."""
    with pytest.raises(FileNotFoundError, match=r"which is not there"):
        read_tagged(tmp_path / "a", TAG, "Thing")
    (tmp_path / "b").write_text("text")
    with pytest.raises(ValueError, match=r"path must be a safetensors file"):
        read_tagged(tmp_path / "b", TAG, "Thing")
    write_tagged(tmp_path / "c", {"x": torch.zeros(1)}, "another", overwrite=False)
    save_file({"x": torch.zeros(1)}, tmp_path / "d")
    for name in "cd":
        with pytest.raises(
            ValueError, match=r"Thing.save\(\) wrote; got .* Its format should be 'edgefilter test"
        ):
            read_tagged(tmp_path / name, TAG, "Thing")


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask and no links without rights")


@pytest.fixture
def umask():
    """Set the user's umask, and put the old one back."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@posix
@pytest.mark.parametrize(("mask", "wanted"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_new_file_has_the_users_umask(tmp_path, umask, mask, wanted):
    """Whoever writes it: safetensors alone gives files that nobody else may read."""
    umask(mask)
    path = write_tagged(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, TAG, overwrite=False)
    with replacing(tmp_path / "b.txt") as place:
        place.write_text("b")
    assert mode(path) == mode(tmp_path / "b.txt") == wanted


@posix
def test_a_replaced_file_keeps_its_permissions_and_its_links(tmp_path, umask):
    """The link is a link to the new content."""
    umask(0o022)
    (tmp_path / "a").write_text("old")
    (tmp_path / "a").chmod(0o660)
    (tmp_path / "link").symlink_to("a")
    with replacing(tmp_path / "link") as place:
        place.write_text("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "a").read_text() == "new"
    assert mode(tmp_path / "a") == 0o660


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_stopped_leaves_the_old_file_and_nothing_else(tmp_path, error):
    """Also where there was none."""
    (tmp_path / "a").write_text("old")

    def write_half(path):
        with replacing(path) as place:
            place.write_text("half")
            raise error

    for name in ("a", "new"):
        with pytest.raises(error):
            write_half(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


@posix
def test_a_device_is_written_to_and_not_replaced():
    """As root, a file would stand in its place."""
    with replacing("/dev/null") as place:
        place.write_text("x")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)
