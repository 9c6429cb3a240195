"""The shipped JSON Schema is the one of the declarations, and it is no rubber stamp."""

from __future__ import annotations

import json

import jsonschema_rs
import pytest
from click.testing import CliRunner

from enforcer.cli.log_schema import schema_command
from enforcer.edges.ecs import encode, to_ecs
from enforcer.edges.ecs_schema import schema_text
from tests.edges.test_journal import EVENT, NOTICE
from tests.lines import SCHEMA, check_line


def test_the_shipped_schema_is_the_one_of_the_code():
    """After a change: `enforcer log schema > enforcer/schemas/event-2.json`, and a new number if a line's meaning changed."""
    assert SCHEMA.read_text() == schema_text()


def test_the_command_prints_what_is_shipped():
    """To the byte."""
    result = CliRunner().invoke(schema_command)
    assert (result.exit_code, result.output) == (0, SCHEMA.read_text())


def test_the_schema_is_one():
    """By the rules of its own dialect."""
    jsonschema_rs.meta.validate(json.loads(SCHEMA.read_bytes()))


@pytest.mark.parametrize("item", [EVENT, NOTICE])
def test_what_is_written_is_valid(item):
    """Also for a validator that knows the shipped file only, as it is."""
    jsonschema_rs.validator_for(json.loads(SCHEMA.read_bytes())).validate(to_ecs(item))
    check_line(encode(item, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("@timestamp", "yesterday"),
        ("datetime", 5),
        ("timestamp_desc", "Something"),
        ("enforcer/verdict", "maybe"),
        ("enforcer/access", ["fly"]),
        ("enforcer/schema", 3),
        ("enforcer/unknown", 1),
        ("event/sequence", "7"),
        ("file/inode", "0x5"),
        ("container", {}),
        ("unknown", True),
    ],
)
def test_what_is_not_of_the_format_is_refused(path, value):
    """A wrong type, a word that is none of ours, a member that nobody declared."""
    document = section = to_ecs(EVENT)
    *parents, last = path.split("/")
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(AssertionError):
        check_line(json.dumps(document))


def test_this_very_process_is_watched():
    """A line that is not of the format cannot be written in a test: the hook of tests/conftest.py is in place."""
    with pytest.raises(AssertionError):
        encode(NOTICE, "7")
