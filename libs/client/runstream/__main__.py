"""`python -m runstream` is the command `runstream`."""

from runstream.cli.app import main

if __name__ == "__main__":
    main()
