"""`python -m fluid.cli` is the `fluid` command."""

from __future__ import annotations

from fluid.cli import main

if __name__ == "__main__":
    main()
