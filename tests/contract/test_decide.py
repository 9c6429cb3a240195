"""The C that the kernel runs and the Python that replays give the same answers."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.core.decide import decide, ports_allow
from enforcer.core.image import MAX_RANGES, Ports, Range
from enforcer.core.model import Access, Mode, Verdict

PROBES = Path(__file__).parents[2] / "probes"

WRAPPER = """
#include <stdint.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64; typedef int32_t s32;
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#include "contract.h"
#include "decide.h"
int decide(u32 granted, u32 asked, u32 mode) { return enf_decide(granted, asked, mode); }
int ports_allow(const struct enf_ports *ports, u32 protocol, u32 port)
{ return enf_ports_allow(ports, protocol, port); }
"""


class CRange(ctypes.Structure):
    """struct enf_port_range."""

    _fields_ = (
        ("first", ctypes.c_uint16),
        ("last", ctypes.c_uint16),
        ("protocol", ctypes.c_uint16),
        ("pad", ctypes.c_uint16),
    )


class CPorts(ctypes.Structure):
    """struct enf_ports."""

    _fields_ = (("count", ctypes.c_uint32), ("pad", ctypes.c_uint32), ("ranges", CRange * MAX_RANGES))


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """probes/decide.h as gcc compiles it, warnings being errors."""
    here = tmp_path_factory.mktemp("native")
    (here / "native.c").write_text(WRAPPER)
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", f"-I{PROBES}"]
    subprocess.run([*command, "-o", here / "native.so", here / "native.c"], check=True)
    return ctypes.CDLL(str(here / "native.so"))


accesses = st.integers(0, 15).map(Access)
ports16 = st.integers(0, 65535)
near = st.sampled_from([0, 1, 79, 80, 81, 443, 65534, 65535])
ranges = st.builds(Range, first=near | ports16, last=near | ports16, protocol=st.sampled_from([0, 1, 6, 17, 132]))


@given(granted=accesses, asked=accesses, mode=st.sampled_from(Mode) | st.integers(0, 300))
def test_kernel_and_replay_agree(native, granted, asked, mode):
    """The C the kernel runs and the Python that replays give the same verdict, for modes that nobody defined too."""
    assert native.decide(granted, asked, mode) == decide(granted, asked, mode)


@given(
    held=st.lists(ranges, max_size=MAX_RANGES),
    surplus=st.sampled_from([0, 0, 0, 1, 100]),
    protocol=st.sampled_from([0, 1, 6, 17, 58]),
    port=near | ports16,
)
def test_ports_agree(native, held, surplus, protocol, port):
    """Both find the same ports in the same value, and nothing in one whose count is past the array."""
    count = MAX_RANGES + surplus if surplus else len(held)
    value = CPorts(count, 0, (CRange * MAX_RANGES)(*(CRange(r.first, r.last, r.protocol, 0) for r in held)))
    expected = ports_allow(Ports(count, tuple(held)), protocol, port)
    assert bool(native.ports_allow(ctypes.byref(value), protocol, port)) is expected


@pytest.mark.parametrize(
    ("granted", "asked", "mode", "verdict"),
    [
        (Access.READ | Access.EXEC, Access.READ, Mode.ENFORCE, Verdict.ALLOWED),
        (Access.READ | Access.EXEC, Access.READ | Access.WRITE, Mode.MONITOR, Verdict.OBSERVED),
        (Access.READ | Access.EXEC, Access.READ | Access.WRITE, Mode.ENFORCE, Verdict.DENIED),
        (Access.NONE, Access.READ, 7, Verdict.DENIED),
    ],
)
def test_the_examples_of_the_header(native, granted, asked, mode, verdict):
    """The table above enf_decide is true."""
    assert native.decide(granted, asked, mode) == verdict


def test_a_range_past_the_count_is_no_grant(native):
    """Ports left in the array behind the count, or a malformed count, open nothing."""
    everything = (CRange * MAX_RANGES)(CRange(0, 65535, 0, 0))
    assert native.ports_allow(ctypes.byref(CPorts(1, 0, everything)), 6, 80) == 1
    assert native.ports_allow(ctypes.byref(CPorts(0, 0, everything)), 6, 80) == 0
    assert native.ports_allow(ctypes.byref(CPorts(MAX_RANGES + 1, 0, everything)), 6, 80) == 0
