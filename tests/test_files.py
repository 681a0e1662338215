"""Files with a tag: what is written is read again, and what is not ours is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from edgefilter._files import new_file, read_tagged, write_tagged

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
