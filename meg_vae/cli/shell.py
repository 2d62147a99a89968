"""main: run a command, and tell errors and warnings in one line each."""

from __future__ import annotations

import os
import shlex
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from meg_vae.cli.commands import app

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

NAME = "meg-vae"
UsageError = typer.BadParameter.__base__  # click's, which some versions of typer keep to themselves


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    args : sequence of str | None
        The arguments; None takes those of the process.

    Returns
    -------
    status : int
        0 if all went well, 2 for bad usage or input, 130 if interrupted.
    """
    args = sys.argv[1:] if args is None else list(args)
    # On a busy machine, threads that spin while they wait make a fit many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with _short_warnings():
        try:
            command = shlex.join([NAME, *args])
            return app(args, prog_name=NAME, obj=command, standalone_mode=False) or 0
        except typer.Abort:
            return _fail("interrupted", 130)
        except UsageError as error:
            return _fail(f"{error.format_message()} (see {_help(error)})")
        except (OSError, RuntimeError, TypeError, ValueError) as error:
            if "--verbose" in args:
                import traceback

                traceback.print_exc()
            return _fail(_message(error))


def _fail(message: str, status: int = 2) -> int:
    typer.echo(f"{NAME}: error: {' '.join(message.split())}", err=True)
    return status


def _help(error: Exception) -> str:
    """Name the command whose help explains a usage error."""
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else NAME} --help"


def _message(error: Exception) -> str:
    """Say an error in words; the operating system's begin with a number."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error) or type(error).__name__


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Show what users should know in one line, once; what is for developers not at all."""
    said = set()

    def show(message: Warning | str, *_: object) -> None:
        from tqdm import tqdm

        text = " ".join(str(message).split())
        if text not in said:
            said.add(text)
            tqdm.write(f"{NAME}: warning: {text}", file=sys.stderr)  # above a progress bar

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in (UserWarning, RuntimeWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield
