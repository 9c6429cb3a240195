"""``block``, ``unblock``, ``quarantine``, ``release``: an operator's orders to the running agent."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import click

from enforcer.cli.host import run_option
from enforcer.cli.render import emit
from enforcer.edges.control import ask
from enforcer.settings import Settings

network = click.argument("name", metavar="NETWORK")
container = click.argument("name", metavar="CONTAINER")
why_option = click.option("--why", default="", help="The reason, for the record.")


@click.command("block")
@network
@why_option
@run_option
def block_command(name: str, why: str, run_: Path) -> None:
    """Let nothing leave NETWORK, for another network or for the host, until `unblock`. Idempotent; outlives the agent."""
    _order("block", name, why, run_)


@click.command("unblock")
@network
@why_option
@run_option
def unblock_command(name: str, why: str, run_: Path) -> None:
    """Undo `block`. A network that the policy calls internal stays guarded."""
    _order("unblock", name, why, run_)


@click.command("quarantine")
@container
@why_option
@run_option
def quarantine_command(name: str, why: str, run_: Path) -> None:
    """Cut CONTAINER (name, or id) off from every network, established connections too; it keeps running, for forensics.

    Holds until `release`, and outlives the agent.
    """
    _order("quarantine", name, why, run_)


@click.command("release")
@container
@why_option
@run_option
def release_command(name: str, why: str, run_: Path) -> None:
    """Undo `quarantine`: the policy decides again."""
    _order("release", name, why, run_)


def _order(command: str, name: str, why: str, run_: Path) -> None:
    # the agent asks the kernel for the uid itself; that is root's, and sudo knows who became it
    who = os.environ.get("SUDO_USER") or getpass.getuser()
    emit([ask(Settings(run=run_).socket, {"command": command, "name": name, "why": why, "who": who})["message"]])
