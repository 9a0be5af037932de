"""Owns the options that every command takes, and what a name on a command line becomes."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import click

from dirsync.core.paths import RelPath, parse_path
from dirsync.errors import InvalidPath
from dirsync.run.settings import Settings, load_settings

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(slots=True)
class Invocation:
    """What the common options said, wherever they stood on the line."""

    config: str | None = None
    is_debug: bool = False

    def settings(self) -> Settings:
        """Find and read the configuration. Raises ConfigError."""
        return load_settings(self.config)


def _take_config(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(Invocation).config = value


def _take_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(Invocation).is_debug = True


def common_options(command: Callable[P, R]) -> Callable[P, R]:
    """Add `--config` and `--debug`, which reach the command through its Invocation."""
    with_debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_take_debug,
        help="Show the traceback of an error.",
    )(command)
    return click.option(
        "--config",
        type=click.Path(),
        metavar="PATH",
        expose_value=False,
        is_eager=True,
        callback=_take_config,
        help="The configuration file, else $DIRSYNC_CONFIG, else ./config.toml, else the user's.",
    )(with_debug)


json_option = click.option("--json", "is_json", is_flag=True, help="Print JSON for programs.")


def name_to_path(name: str) -> RelPath:
    """Return the path that a name on the command line means. Raises InvalidPath."""
    try:
        return parse_path(os.fsencode(name))
    except InvalidPath as error:
        raise InvalidPath(f"{error}; a name is written as the listing shows it, relative to the directory") from None
