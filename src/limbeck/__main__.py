"""`python -m limbeck` is `limbeck`."""

from limbeck.cli import main

if __name__ == "__main__":
    main()
