"""The words of `retune evaluate` and `retune compare`; what they do loads with the first use."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from retune.settings import Settings

Rows = Annotated[Path | None, typer.Option(help="A file of rows in the spec's format.")]
Side = Annotated[str, typer.Option("--set", help="held_out or validation.")]
Out = Annotated[Path | None, typer.Option(help="Folder for page and figures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")]


def evaluate(
    spec: Annotated[Path, typer.Argument(help="A pipeline's YAML.")],
    model: Annotated[str, typer.Option(help="What its server calls it.")],
    url: Annotated[str, typer.Option(help="The server; its API key in RETUNE_URL_KEY.")] = "",
    connection: Annotated[str, typer.Option(help="An endpoint's name; by default the spec's.")] = "",
    rows: Rows = None,
    side: Side = "held_out",
    strategy: Annotated[str, typer.Option(help="plain, few_shot or rag.")] = "plain",
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Ask a model the held-out set, or rows of a file, and show how it does."""
    from retune.evaluating import command

    asked = command.asked_of([model], [url], [connection], [strategy])
    request = command.Request.of(spec, rows, side, out, resume, f"cli:{getuser()}")
    command.evaluate_model(asked[0], request, Settings.load(), Console())


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="A model, as its server calls it.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Another, or the same asked otherwise.")],
    spec: Annotated[Path, typer.Option(help="A pipeline's YAML.")],
    url: Annotated[list[str] | None, typer.Option(help="Their server; given twice: A's and B's.")] = None,
    connection: Annotated[list[str] | None, typer.Option(help="Likewise, by an endpoint's name.")] = None,
    rows: Rows = None,
    side: Side = "held_out",
    strategy: Annotated[list[str] | None, typer.Option(help="Likewise: plain, few_shot or rag.")] = None,
    stop_early: Annotated[bool, typer.Option("--stop-early", help="Stop asking once it is settled.")] = False,
    out: Out = None,
    resume: Resume = False,
) -> None:
    """Ask two models the same, and show which is better."""
    from retune.evaluating import command

    asked = command.asked_of([first, second], url or [], connection or [], strategy or [])
    request = command.Request.of(spec, rows, side, out, resume, f"cli:{getuser()}")
    command.compare_models(asked, stop_early, request, Settings.load(), Console())
