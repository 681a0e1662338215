"""Run the command line as ``python -m edgefilter``."""

from .cli import main

if __name__ == "__main__":
    main()
