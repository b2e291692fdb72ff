"""`python -m srcli` is `sr`."""

from srcli.cli.app import main

if __name__ == "__main__":
    main()
