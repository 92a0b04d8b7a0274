"""The command line as a whole: our commands, those of plugins, and all of them bound to one manager."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

import fluid
from fluid.cli.arguments import Target
from fluid.cli.commands import COMMANDS
from fluid.cli.run_commands import RUN_COMMANDS
from fluid.errors import PluginError

COMMAND_GROUP = "fluid.commands"

SETTLED_BY_A_MANAGER = {"target", "broker_url", "concurrency"}
"""What a command need not be told when it belongs to a manager that was made already."""

PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "no_args_is_help": True}
"""Help without rich takes a third of the time."""

Command = Callable[..., int]


class PluggableGroup(TyperGroup):
    """Also finds the commands of plugins; none is loaded before it is asked for."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Ours, else a plugin's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        point = plugged().get(cmd_name)
        return None if point is None else load(point, ctx.obj)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Ours with their help, those of plugins with where they come from."""
        super().format_commands(ctx, formatter)
        found = [
            (name, f"from {point.dist.name if point.dist else point.value}")
            for name, point in plugged().items()
        ]
        if found:
            with formatter.section("Commands of plugins"):
                formatter.write_dl(found)


def plugged() -> Mapping[str, EntryPoint]:
    """The commands that plugins bring, by name."""
    return {
        point.name: point for point in sorted(entry_points(group=COMMAND_GROUP)) if point.name not in COMMANDS
    }


def load(point: EntryPoint, manager: Any = None) -> Any:
    """The command behind an entry point: a Typer app, or a function that becomes one.

    A function that takes a `manager` is handed the one at MODULE:CONSUMER.
    """
    try:
        found = point.load()
    except Exception as error:
        raise PluginError(f"the command {point.name!r} ({point.value}) does not load: {error!r}") from error
    if not isinstance(found, typer.Typer):
        function, found = found, typer.Typer(**PLAIN)
        found.command()(_ready(_handed(function), manager))
    return get_command(found)


def _handed(function: Command) -> Command:
    """The function as a command of ours, that is told where the manager is."""
    signature = inspect.signature(function, eval_str=True)
    if "manager" not in signature.parameters:
        return function

    @wraps(function)
    def command(target: Any, **given: Any) -> int:
        from fluid.cli.target import find_manager

        return function(manager=find_manager(target), **given)

    asked = [
        parameter.replace(name="target", annotation=Target) if name == "manager" else parameter
        for name, parameter in signature.parameters.items()
    ]
    command.__signature__ = signature.replace(parameters=asked)  # type: ignore[attr-defined]
    return command


def command_line(manager: Any = None) -> Any:
    """The whole command; with a manager, its commands are about that one."""
    whole = typer.Typer(
        cls=PluggableGroup,
        help="Background tasks on asyncio, through Redis.",
        context_settings={"obj": manager},
        **PLAIN,
    )
    whole.callback()(_options)
    for name, command in COMMANDS.items():
        whole.command(name)(_ready(command, manager))
    runs = typer.Typer(help="List, show, replay, discard and cancel runs.", **PLAIN)
    for name, command in RUN_COMMANDS.items():
        runs.command(name)(_ready(command, manager))
    whole.add_typer(runs, name="runs")
    return get_command(whole)


def _ready(command: Command, manager: Any) -> Callable[..., None]:
    """The command as Typer takes it: it leaves with what it answers, and asks for nothing that is settled."""
    signature = inspect.signature(command, eval_str=True)
    settled = {"target": manager} if manager is not None and "target" in signature.parameters else {}
    asked = [
        parameter
        for name, parameter in signature.parameters.items()
        if manager is None or name not in SETTLED_BY_A_MANAGER
    ]

    @wraps(command)
    def ready(**given: Any) -> None:
        raise typer.Exit(command(**settled, **given) or 0)

    ready.__signature__ = signature.replace(parameters=asked, return_annotation=None)  # type: ignore[attr-defined]
    return ready


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"fluid {fluid.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is."),
    ] = False,
) -> None:
    """Background tasks on asyncio, through Redis."""
