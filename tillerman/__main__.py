"""`python -m tillerman` is `tillerman`."""

from tillerman.cli import main

if __name__ == "__main__":
    main()
