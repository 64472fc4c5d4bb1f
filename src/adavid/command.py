"""The console command `adavid`: the checkout's `python -m benchmarks`, from any folder."""

from __future__ import annotations

import importlib
import sys

from adavid.checkout import checkout


def main() -> int:
    """Run the command line of the checkout; exit status 2 where there is none."""
    try:
        checkout()
    except (ValueError, OSError) as error:
        print(f"adavid: {error}", file=sys.stderr)
        return 2
    status: int = importlib.import_module("benchmarks.__main__").main()
    return status


if __name__ == "__main__":
    sys.exit(main())
