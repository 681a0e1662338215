"""Files: written at once and never over another one by accident, and tensors with a tag that says what they are."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["new_file", "read_tagged", "replacing", "write_tagged"]


def new_file(path: str | Path, *, overwrite: bool) -> Path:
    """Return a path to write to.

    Raises
    ------
    FileExistsError
        If the file is there and ``overwrite`` is False.
    FileNotFoundError
        If its folder is not there.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"path must be a new file; got {str(path)!r}, which exists. Pass overwrite=True."
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"path must lie in a folder that exists; got {str(path)!r}. Make {str(path.parent)!r} first."
        )
    return path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a place to write to; what was written there takes the file's place when it is complete.

    The new file has the permissions of an existing one, else those of the user's umask, whoever writes it: safetensors
    makes files that nobody else may read. A link stays and its file is replaced; a device or a pipe is written to directly.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with replacing(f"{folder}/a.txt") as place:
    ...         _ = place.write_text("all of it")
    ...     Path(folder, "a.txt").read_text()
    'all of it'
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f".{uuid.uuid4().hex}.part{path.suffix}")
    try:
        temporary.touch()
        mode = stat.S_IMODE((path if path.exists() else temporary).stat().st_mode)
        yield temporary
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_tagged(
    path: str | Path, tensors: Mapping[str, Tensor], tag: str, *, overwrite: bool, **about: Any
) -> Path:
    """Write tensors to a new safetensors file, with a tag and with further values as JSON.

    Raises
    ------
    FileExistsError, FileNotFoundError
        As :func:`new_file` does.
    """
    from safetensors.torch import save_file

    path = new_file(path, overwrite=overwrite)
    texts = {name: json.dumps(value) for name, value in about.items()}
    with replacing(path) as place:
        save_file(dict(tensors), place, metadata={"format": tag, **texts})
    return path


def read_tagged(path: str | Path, tag: str, writer: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the further values of a file that :func:`write_tagged` wrote with this tag.

    Parameters
    ----------
    path : str or Path
    tag : str
    writer : str
        The class whose ``save()`` writes such files, for messages.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another one.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(
            f"path must be a file that save() wrote; got {str(path)!r}, which is not there. Look at its spelling."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError) as cause:
        raise ValueError(
            f"path must be a safetensors file; got {str(path)!r}: {cause}. Pass one that save() wrote."
        ) from cause
    if metadata.pop("format", None) != tag:
        raise ValueError(
            f"path must be a file that {writer}.save() wrote; got {str(path)!r}, another file. "
            f"Its format should be {tag!r}."
        )
    return tensors, {name: json.loads(text) for name, text in metadata.items()}
