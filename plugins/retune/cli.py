"""The command line: every command calls one function of the library."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from socket import gethostname
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from retune import __version__
from retune.errors import RetuneError
from retune.evaluating.command_line import compare, evaluate
from retune.settings import Settings
from retune.state.database import Database

app = typer.Typer(
    name="retune",
    help="Fine-tune, gate, roll out, watch and retrain language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs = typer.Typer(help="Show, cancel, pause and resume trainings.", no_args_is_help=True)
app.add_typer(jobs, name="jobs")
app.command()(evaluate)
app.command()(compare)
Key = Annotated[str, typer.Argument(help="The job's key, or its beginning: see `retune jobs list`.")]


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
def init(
    name: Annotated[str, typer.Argument(help="The new pipeline: a-z, 0-9 and -.")],
    data: Annotated[list[str], typer.Option(help="Rows: a file, glob or URL; may be given again.")],
    force: Annotated[bool, typer.Option("--force", help="Write over files that are there.")] = False,
) -> None:
    """Write a first spec and expectations for rows, and say what was guessed."""
    from retune.starting import start

    start(name, data, Settings.load(), Console(), force=force)


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
def rollback(pipeline: Annotated[str, typer.Argument(help="The pipeline's name.")]) -> None:
    """Lead a pipeline's alias back to the release that answered before."""
    from retune.serving.rollout import rollback
    from retune.state import releases
    from retune.tracking import Tracking

    db = _database()
    route = rollback(pipeline, f"cli:{getuser()}", db=db, now=datetime.now(UTC))
    with db.read() as tx:
        release = releases.get(tx, pipeline, route.targets[0].release)
    Tracking(Settings.load(), typer.echo).mirror(release)
    typer.echo(f"{route.alias} goes back to release {route.targets[0].release}; agents follow within seconds")


@app.command()
def demo(
    stop: Annotated[bool, typer.Option("--stop", help="End all that the demo started.")] = False,
) -> None:
    """Run the whole loop on the sample tickets in a real Airflow, and leave it running."""
    from retune.demo import story

    if stop:
        typer.echo(f"{story.stop(Settings.load())} processes ended")
    else:
        story.run(Settings.load(), Console())


@app.command()
def serve(
    base_model: Annotated[
        str, typer.Option(help="As recipes have it: a hub id, or a folder of the project.")
    ],
    endpoint: Annotated[str, typer.Option(help="The endpoint's name in specs.")] = "vllm_default",
    host: Annotated[str, typer.Option(help="Address of the gateway.")] = "127.0.0.1",
    gateway_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8088,
    vllm_port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8000,
) -> None:
    """Serve on this machine: vLLM, the gateway and the agent, kept alive."""
    from retune.serving import supervisor

    supervisor.serve(
        settings=Settings.load(),
        endpoint=endpoint,
        base_model=base_model,
        host=host,
        gateway_port=gateway_port,
        vllm_port=vllm_port,
    )


@app.command()
def agent(
    replica_url: Annotated[str, typer.Option(help="The vLLM server on this host, without /v1.")],
    base_model: Annotated[str, typer.Option(help="What that server serves, as recipes have it.")],
    endpoint: Annotated[str, typer.Option(help="The endpoint's name in specs.")] = "vllm_default",
    name: Annotated[str, typer.Option(help="Stable over restarts; the host's name by default.")] = "",
    gateway_dir: Annotated[Path | None, typer.Option(help="The gateway's folder, if it runs here.")] = None,
    gateway_url: Annotated[str, typer.Option(help="That gateway's address.")] = "",
) -> None:
    """Run only the agent, beside a vLLM server (and a gateway) that something else keeps alive."""
    from retune.serving.agent import run_process

    run_process(
        Settings.load(),
        name=name or gethostname(),
        endpoint=endpoint,
        replica_url=replica_url,
        base_model=base_model,
        gateway_dir=gateway_dir,
        gateway_url=gateway_url,
    )


@app.command()
def e2e(
    source: Annotated[Path | None, typer.Argument(help="BANKING77's training CSV.")] = None,
    services: Annotated[
        bool, typer.Option("--services", help="Three recipes: here, at OpenAI and at Vertex AI, emulated.")
    ] = False,
) -> None:
    """Run the tune DAG on real data, or with --services on the sample tickets, in a real Airflow."""
    from retune.demo import banking, three

    if services:
        three.run(Settings.load(), source, Console())
    elif source is None:
        raise typer.BadParameter("name BANKING77's training CSV, or give --services")
    else:
        banking.run(Settings.load(), source, Console())


@app.command()
def forget(
    subject: Annotated[str, typer.Option(help="The person's ID, as data.columns.subject has it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show it.")] = False,
) -> None:
    """Show what a person's rows reached; with --yes remove them and plan the retrain."""
    from retune.erasure.command import forget

    forget(subject, yes, f"cli:{getuser()}", Settings.load(), Console())


@app.command()
def cleanup(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only show it.")] = False,
) -> None:
    """Show what nothing points at any more, by retention; with --yes remove it."""
    from retune.upkeep.command import cleanup

    cleanup(yes, Settings.load(), Console())


@jobs.command("list")
def list_jobs(
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """Show the trainings that are under way."""
    from retune import jobs_command

    jobs_command.list_jobs(everything, Settings.load(), Console())


@jobs.command()
def cancel(key: Key) -> None:
    """Cancel a training for good, at its provider too."""
    from retune import jobs_command

    jobs_command.cancel(key, Settings.load(), typer.echo)


@jobs.command()
def pause(key: Key) -> None:
    """Let a training rest, where its provider can."""
    from retune import jobs_command

    jobs_command.pause(key, Settings.load(), typer.echo)


@jobs.command()
def resume(key: Key) -> None:
    """Let a resting training go on."""
    from retune import jobs_command

    jobs_command.resume(key, Settings.load(), typer.echo)


@app.command()
def spending() -> None:
    """Show what each pipeline has spent this month, and what it may."""
    from retune.spending import spending_table

    db = _database()
    db.check()
    Console().print(spending_table(db, datetime.now(UTC)))


@app.command()
def emulate(
    kind: Annotated[str, typer.Argument(help="openai or vertex.")],
    port: Annotated[int, typer.Option(help="Where to listen.")],
    folder: Annotated[Path, typer.Option(help="What it remembers lies here, over restarts.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    train_base: Annotated[
        Path | None, typer.Option(help="A small base model's folder: jobs then really train.")
    ] = None,
    vllm: Annotated[str | None, typer.Option(help="A vLLM server that answers for the models.")] = None,
) -> None:
    """Speak a provider's API on this machine, without its bill, until interrupted."""
    from retune.testing.emulators import serving

    given = {"train_base": train_base and str(train_base.resolve()), "vllm": vllm}
    serving.serve(kind, folder, port, {name: text for name, text in given.items() if text is not None}, host)


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


def _database() -> Database:
    return Database(Settings.load().state_url)
