"""`python -m pgorch` is the command `pgorch`."""

from pgorch.cli.main import main

if __name__ == "__main__":
    main()
