"""`python -m pile_toolkit`, which is also what torchrun starts: the same as `pile`."""

from pile_toolkit.cli.main import main

if __name__ == "__main__":
    main()
