"""Offsets from the running kernel's BTF, and what is said where they cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from enforcer.edges.bpf.offsets import BTF_PATH, Btf, Field, header, wanted
from enforcer.edges.bpf.source import probes_directory
from enforcer.errors import HostError

KERNEL_H = (probes_directory() / "kernel.h").read_text()


def test_every_field_of_the_probes_is_found() -> None:
    """The running kernel has every field that kernel.h reads, each once, at a plausible place."""
    fields = wanted(KERNEL_H)
    assert {"f_path", "d_parent", "i_ino", "s_dev", "inum", "orig_ax"} <= {f.name for f in fields}
    assert (
        KERNEL_H.count("ENF_FIELD(") + KERNEL_H.count("ENF_RENAMED(") == len(fields) + 4
    )  # two macros, a comment, a use
    lines = header(KERNEL_H).splitlines()
    assert len([line for line in lines if line.startswith("#define ENF_AT_")]) == len(fields)


def test_known_layout() -> None:
    """pt_regs is ABI: its offsets on x86-64 never change."""
    btf = Btf(BTF_PATH.read_bytes())
    offsets = {name: btf.offset(Field("pt_regs", name, name)) for name in ("bx", "cx", "dx", "si", "di", "orig_ax")}
    assert offsets == {"bx": 40, "cx": 88, "dx": 96, "si": 104, "di": 112, "orig_ax": 120}


def test_a_renamed_field_is_found_by_its_later_name() -> None:
    """A kernel that has only the later name is served by it."""
    btf = Btf(BTF_PATH.read_bytes())
    assert btf.offset(Field("kernfs_node", "no_such_name", "id")) == btf.offset(Field("kernfs_node", "id", "id"))


@pytest.mark.parametrize("field", [Field("dentry", "d_nothing", "d_nothing"), Field("no_such_struct", "x", "x")])
def test_a_missing_field_is_named(field: Field) -> None:
    """A kernel without a field is refused, and the field is named."""
    with pytest.raises(HostError, match=rf"struct {field.struct} has no field {field.name}"):
        Btf(BTF_PATH.read_bytes()).offset(field)


def test_no_btf(tmp_path: Path) -> None:
    """Without BTF, or with something else in its place, the error says what the kernel lacks."""
    with pytest.raises(HostError, match="CONFIG_DEBUG_INFO_BTF"):
        header(KERNEL_H, tmp_path / "vmlinux")
    (tmp_path / "vmlinux").write_bytes(bytes(64))
    with pytest.raises(HostError, match="CONFIG_DEBUG_INFO_BTF"):
        header(KERNEL_H, tmp_path / "vmlinux")
    (tmp_path / "vmlinux").write_bytes(b"")
    with pytest.raises(HostError, match="CONFIG_DEBUG_INFO_BTF"):
        header(KERNEL_H, tmp_path / "vmlinux")
