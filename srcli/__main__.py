"""`python -m srcli` is `sr`."""

import gc

# Start-up makes many objects and no garbage: looking for it takes a tenth of the time.
gc.set_threshold(100_000)

from srcli.cli.app import main  # noqa: E402

if __name__ == "__main__":
    main()
