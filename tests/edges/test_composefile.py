"""Compose files as they are in the wild: anchors and merge keys are followed, and what is not followed is refused by line."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from enforcer.cli import main
from enforcer.core.compose_file import fields_of, text_of
from enforcer.core.document import Node, Scalar, Table
from enforcer.edges.composefile import MAX_MERGED, compose_from_bytes, read_compose
from enforcer.errors import PolicyError

ROOT = Path(__file__).resolve().parents[2]
AGENTS = ROOT / "deploy" / "compose" / "agents.yaml"

WILD = """\
x-one: &one {restart: always, user: "1"}
x-two: &two
  <<: *one
  user: "2"
services:
  a:
    <<: [*two, *one]
    privileged: &yes true
  b: *two
  c: {<<: *one, read_only: *yes, user: "3"}
  d: {"<<": text}
"""


def plain(node: Node) -> object:
    """As a loader would have it, every scalar a text."""
    if isinstance(node, Table):
        return {key: plain(value) for key, value in fields_of(node).items()}
    return node.text if isinstance(node, Scalar) else None


def test_aliases_and_merge_keys_are_followed() -> None:
    """As PyYAML's own loader follows them."""
    text = WILD.replace('  d: {"<<": text}\n', "").replace("true", '"true"')
    [root] = compose_from_bytes(text.encode(), "c.yaml").roots
    assert plain(root) == yaml.safe_load(text)


def test_a_quoted_merge_key_is_a_text() -> None:
    """Only the plain word merges."""
    [root] = compose_from_bytes(WILD.encode(), "c.yaml").roots
    assert plain(fields_of(fields_of(root)["services"])["d"]) == {"<<": "text"}


def test_what_is_merged_keeps_its_place() -> None:
    """A finding points at the line that is to be changed."""
    [root] = compose_from_bytes(WILD.encode(), "c.yaml").roots
    services = fields_of(fields_of(root)["services"])
    a = services["a"]
    assert isinstance(a, Table)
    places = {key.text: (key.mark.line, value.mark.line) for key, value in a.entries}
    assert places == {"privileged": (8, 8), "user": (4, 4), "restart": (1, 1)}
    assert text_of(fields_of(a)["user"]) == "2"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: *b\n", "c.yaml:1:4: compose: the alias *b has no anchor before it"),
        ("a: &a [*a]\n", "the alias *a has no anchor before it"),
        ("a: !reset null\n", "c.yaml:1:4: compose: the tag !reset is not followed"),
        ("a: &a x\nb: {<<: *a}\n", "<< takes a mapping, or a list of them"),
        ("a: 1\na: 2\n", "c.yaml:2:1: compose: a is given twice"),
        ("a: 1\n---\na: 2\n", "a second document"),
        ("a: [\n", "not YAML"),
    ],
)
def test_what_is_not_followed_is_refused_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    """Never read as something else."""
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(PolicyError) as caught:
        read_compose(tmp_path / "c.yaml")
    assert said in str(caught.value)


def test_a_bomb_of_aliases_costs_nothing(tmp_path: Path) -> None:
    """A billion of what it says is the same node, and merging without end is refused."""
    lines = [
        "a0: &a0 [x, x]",
        *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)),
        "services: {s: {volumes: *a39}}",
    ]
    bomb = tmp_path / "c.yaml"
    bomb.write_text("\n".join(lines))
    assert run("lint", str(bomb)) == 1
    keys = ", ".join(f"k{n}: " for n in range(2000))
    many = f"a: &a {{{keys}}}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(MAX_MERGED // 2000 + 1))
    with pytest.raises(PolicyError, match="merge keys bring more than"):
        compose_from_bytes(many.encode(), "c.yaml")


def run(*words: str) -> int:
    """The exit status of the command line."""
    with pytest.raises(SystemExit) as ended:
        main(["compose", *words])
    return int(ended.value.code or 0)


def test_the_commands_end_as_the_design_has_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 fine, 1 found something, 2 a wrong file: and then nothing is written."""
    out, wrong = tmp_path / "compose.yaml", tmp_path / "wrong.yaml"
    assert run("render", str(AGENTS), "-o", str(out)) == 0
    assert run("lint", str(out)) == 0
    assert "nothing is missing" in capsys.readouterr().out
    out.write_text(out.read_text().replace("cap_drop: [ALL]", "cap_add: [SYS_ADMIN]", 1))
    assert run("lint", str(out)) == 1
    said = capsys.readouterr().out
    assert f"{out}:" in said
    assert "added-capabilities" in said
    assert run("lint", str(out), "--format", "json") == 1
    assert '"check": "capability-drop"' in capsys.readouterr().out
    wrong.write_text("version: 1\n")
    before = out.read_text()
    assert run("render", str(wrong), "-o", str(out)) == 2
    assert f'{wrong}:1:1: declaration: lacks "data"' in capsys.readouterr().err
    assert out.read_text() == before
    assert run("lint", str(tmp_path / "none.yaml")) == 2


def test_docker_compose_takes_what_is_rendered(tmp_path: Path) -> None:
    """Docker Compose's own `config` reads it without a word, and has of it what the declaration says."""
    program = shutil.which("docker-compose")
    assert program, "Debian's docker-compose is missing: make packages"
    odd = AGENTS.read_text() + '    build: "./it\'s #1: $HOME"\n'
    odd = odd.replace("pgdata}", 'pgdata, ODD: "a: $b # \\"c\\" \\\\ é ~", NO: "no", EMPTY: ""}')
    declaration, out = tmp_path / "agents.yaml", tmp_path / "compose.yaml"
    declaration.write_text(odd)
    assert run("render", str(declaration), "-o", str(out)) == 0
    made = yaml.safe_load(out.read_text())
    for service in made["services"].values():  # its `config` looks whether what is to be built is there
        (tmp_path / service["build"]["context"].replace("$$", "$")).mkdir(parents=True, exist_ok=True)
    done = subprocess.run([program, "-f", out, "config"], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    read = yaml.safe_load(done.stdout)
    assert set(read["services"]) == set(made["services"])
    for name, service in made["services"].items():
        theirs = read["services"][name]
        assert theirs["environment"] == service["environment"]
        assert theirs["mem_limit"] == service["mem_limit"]
        assert theirs.get("volumes") == service.get("volumes")
    assert read["services"]["database"]["environment"]["ODD"] == 'a: $$b # "c" \\ é ~'
    assert read["networks"]["mcp-internal"]["internal"] is True
    assert read["volumes"]["database-data"]["driver_opts"]["device"] == "/srv/mcp/data/database"
