"""``python -m adapter.cli``: the same as the command ``evapi-adapter``."""

from adapter.cli.main import main

main()
