"""Let tox environments that name the same ``env_dir`` share what is installed there.

tox makes an environment anew when another one used its directory before. Torch alone is several gigabytes, so the
environments of this project, which need the same packages, are told apart by their commands only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tox.plugin import impl
from tox.tox_env.info import Info
from tox.tox_env.python.virtual_env.runner import VirtualEnvRunner
from tox.tox_env.register import ToxEnvRegister


class _Nameless(Info):
    """What is known about a directory, whichever environment it was made for."""

    @contextmanager
    def compare(self, value: Any, section: str, sub_section: str | None = None) -> Iterator[tuple[bool, Any]]:
        if section == "ToxEnv":
            value = {**value, "name": "shared"}
        with super().compare(value, section, sub_section) as found:
            yield found


class SharedVirtualEnv(VirtualEnvRunner):
    """A virtual environment that several tox environments use: ``runner = shared``."""

    @staticmethod
    def id() -> str:
        """Return the name for ``runner =``."""
        return "shared"

    @property
    def cache(self) -> Info:
        """Read the notes in the directory afresh, as tox does."""
        return _Nameless(self.env_dir)


@impl
def tox_register_tox_env(register: ToxEnvRegister) -> None:
    """Tell tox of the runner."""
    register.add_run_env(SharedVirtualEnv)
