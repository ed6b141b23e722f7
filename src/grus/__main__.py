"""``python -m grus``: the command line."""

from grus.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
