"""`python -m mirror` is the command `rust-mirror`.

Runs in: commands.
"""

from mirror.cli.main import main

if __name__ == "__main__":
    main()
