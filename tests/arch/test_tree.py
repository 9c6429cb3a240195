"""What the tree may not contain, and what a build of it must."""

import shutil
import subprocess
import sys
import zipfile
from urllib.parse import urlsplit

import pytest

from tests.arch.tree import ROOT, tracked


def texts():
    """(path, content) of every tracked file that is text."""
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            yield path, content.decode(errors="replace")


def package_indexes():
    """The hosts that this machine's pip asks, the public one aside."""
    argv = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    hosts = {urlsplit(word.strip("'\"")).hostname for word in listed.replace("=", " ").split() if "://" in word}
    return {h for h in hosts if h and not h.endswith(("pypi.org", "pythonhosted.org"))}


def test_no_file_names_the_machine_it_was_written_on():
    """Paths of a checkout and the hosts of a private package index mean nothing elsewhere."""
    words = {f"{ROOT}/", *package_indexes()}
    assert {(str(p.relative_to(ROOT)), w) for p, text in texts() for w in words if w in text} == set()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of what git tracks: a file that was never added is missing from it, as it would be elsewhere."""
    place = tmp_path_factory.mktemp("wheel")
    for path in tracked():
        copy = place / "tree" / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    argv = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", place]
    subprocess.run([*argv, place / "tree"], check=True, capture_output=True)
    (built,) = place.glob("*.whl")
    with zipfile.ZipFile(built) as opened:
        yield {name for name in opened.namelist() if not name.endswith("/")}


@pytest.mark.parametrize("kind", ["probes/*.[ch]", "policies/*.yaml"])
def test_probes_and_policies_are_in_the_wheel(wheel, kind):
    """An installed agent needs no checkout: every C file and every policy lies under share/enforcer."""
    packed = {name.partition("/share/enforcer/")[2] for name in wheel}
    wanted = {str(p.relative_to(ROOT)) for p in tracked(kind)}
    assert wanted
    assert wanted <= packed


def test_every_module_is_in_the_wheel_and_nothing_else_is(wheel):
    """The packages of the enforcer; no tests, no demo."""
    modules = {str(p.relative_to(ROOT)) for p in tracked("enforcer/*.py")}
    assert modules == {name for name in wheel if name.endswith(".py")}


def test_the_schema_of_the_journal_is_in_the_wheel(wheel):
    """Readers of the event log find it beside the code that writes it."""
    assert {str(p.relative_to(ROOT)) for p in tracked("enforcer/schemas/*.json")} == {
        name for name in wheel if name.endswith(".json")
    }
    assert "enforcer/schemas/event-2.json" in wheel
