"""`python -m naevi` is the same as `naevi`."""

from naevi.cli import main

if __name__ == "__main__":
    main(prog_name="naevi")
