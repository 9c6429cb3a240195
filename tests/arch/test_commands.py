"""Every command can be asked what it does, and the README names it."""

import click
import pytest

from tests.arch.tree import ROOT

ISSUE_2 = {"run", "check", "plan", "matrix", "explain", "doctor", "status", "log", "replay"}


def leaves(command, path=()):
    """(words, command) of every command that does something. Asks as click does: they are loaded on demand."""
    if isinstance(command, click.Group):
        if command.invoke_without_command:
            yield path, command
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield path, command


@pytest.fixture(scope="module")
def commands():
    """All of them, by their words."""
    from enforcer.cli import cli  # noqa: PLC0415  here, so that a broken command line fails these tests and no others

    return {" ".join(words): command for words, command in leaves(cli)}


def test_the_commands_of_the_design_are_there(commands):
    """Those that the agent has from its first version on."""
    assert set(commands) >= ISSUE_2


def test_every_command_has_a_help_text(commands):
    """A sentence on the command, and one on each of its options."""
    assert [name for name, command in commands.items() if not (command.help or "").strip()] == []
    options = [(n, o) for n, c in commands.items() for o in c.params if isinstance(o, click.Option)]
    assert [(name, option.name) for name, option in options if not (option.help or "").strip()] == []


def test_the_readme_names_every_command(commands):
    """As it is typed: `enforcer check`."""
    readme = (ROOT / "README.md").read_text()
    assert [name for name in commands if f"enforcer {name}" not in readme] == []
