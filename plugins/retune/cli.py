"""The command line: every command calls one function of the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from retune import __version__
from retune.errors import RetuneError
from retune.settings import Settings

app = typer.Typer(
    name="retune",
    help="Fine-tune, gate, roll out, watch and retrain language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; a RetuneError is said plainly, without a traceback."""
    try:
        app()
    except RetuneError as error:
        Console(stderr=True).print(Text(str(error), style="red"), soft_wrap=True)
        sys.exit(1)


@app.command()
def check(spec: Annotated[Path, typer.Argument(help="A pipeline's YAML.")]) -> None:
    """Check a spec and its data, without Airflow."""
    from retune.checking import check

    check(spec, Settings.load(), Console())


@app.command()
def doctor() -> None:
    """Check this installation and say what to do."""
    from retune.doctor import examine

    if not examine(Settings.load(), Console()):
        raise typer.Exit(1)


@app.command()
def migrate() -> None:
    """Bring the databases and Airflow's pool to this version."""
    from retune.migrate import migrate

    migrate(Settings.load())


@app.command()
def status() -> None:
    """Show what is live, per pipeline, and why anything waits."""
    from retune.status import show_status

    show_status(Settings.load(), Console())


@app.command()
def schema(
    target: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("docs/spec.schema.json"),
) -> None:
    """Write the spec's JSON schema, for editors."""
    from retune.schema import write_schema

    write_schema(target)


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(__version__)
