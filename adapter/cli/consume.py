"""``evapi-adapter consume``: services on RabbitMQ, as ``python -m consumers`` runs them."""

from __future__ import annotations

from typing import Final

import typer

from adapter.cli.help import Commands

app = Commands()

PROGRAM: Final = "evapi-adapter consume"
CONTEXT: Final = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(context_settings=CONTEXT, add_help_option=False)
def consume(context: typer.Context) -> None:
    """Run services that decide calls, on RabbitMQ, until SIGTERM: MODULE:SERVICE, or webhook.toml.

    Exit codes: 0 stopped, after the work in hand; 1 a lifespan cannot be opened, or the HTTP port is taken; 2
    wrong usage, settings or service.
    """
    from consumers.__main__ import main

    raise typer.Exit(main(context.args, PROGRAM))
