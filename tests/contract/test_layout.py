"""enforcer/abi.py and the enums of the core are what the C compiler makes of probes/contract.h."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest

from enforcer import abi
from enforcer.core import enums, ids, image, model
from enforcer.edges.bpf import maps
from enforcer.edges.bpf.record import LAYOUT, SUBJECT_AT, Record, record_of
from enforcer.edges.bpf.source import probes_directory
from enforcer.errors import AbiError

TYPES = """#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
typedef uint8_t u8; typedef uint16_t u16; typedef uint32_t u32; typedef uint64_t u64; typedef int32_t s32;
#include "contract.h"
"""


def structs() -> list[type[abi.Record]]:
    """Every mirrored struct."""
    return abi.Record.__subclasses__()


def c_name(kind: type[abi.Record]) -> str:
    """The C name of a mirror: Config → enf_config, CEvent → enf_event."""
    words = re.findall(r"[A-Z][a-z]*", kind.__name__.removeprefix("C") if kind is abi.CEvent else kind.__name__)
    return "enf_" + "_".join(w.lower() for w in words)


def answers(tmp_path: Path, expressions: list[str]) -> list[int]:
    """What gcc says that each expression is worth."""
    lines = "".join(f'printf("%lld\\n", (long long)({e}));' for e in expressions)
    (tmp_path / "ask.c").write_text(f"{TYPES}\nint main(void) {{ {lines} return 0; }}\n")
    command = [
        "gcc",
        "-Wall",
        "-Werror",
        f"-I{probes_directory()}",
        str(tmp_path / "ask.c"),
        "-o",
        str(tmp_path / "ask"),
    ]
    subprocess.run(command, check=True, timeout=60)
    said = subprocess.run([tmp_path / "ask"], check=True, capture_output=True, text=True, timeout=10).stdout
    return [int(line) for line in said.split()]


def test_every_struct_is_mirrored() -> None:
    """No struct of the contract lacks its mirror, and no mirror its struct."""
    declared = set(re.findall(r"^struct (enf_\w+) \{", (probes_directory() / "contract.h").read_text(), re.MULTILINE))
    assert {c_name(kind) for kind in structs()} == declared


@pytest.mark.parametrize("kind", structs(), ids=c_name)
def test_layout(kind: type[abi.Record], tmp_path: Path) -> None:
    """Size, and offset and size of each field, are the compiler's."""
    name = f"struct {c_name(kind)}"
    fields = [field[0] for field in kind._fields_]
    asked = [f"sizeof({name})"]
    for field in fields:
        asked += [f"offsetof({name}, {field})", f"sizeof((({name} *)0)->{field})"]
    ours = [ctypes.sizeof(kind)]
    for field in fields:
        ours += [getattr(kind, field).offset, getattr(kind, field).size]
    assert ours == answers(tmp_path, asked)


def test_no_hidden_padding(tmp_path: Path) -> None:
    """Keys are compared byte by byte: a struct is exactly as large as its fields."""
    for kind in structs():
        assert ctypes.sizeof(kind) == sum(getattr(kind, field[0]).size for field in kind._fields_), kind.__name__


def test_enums(tmp_path: Path) -> None:
    """Every enum value that Python names has the compiler's number."""
    pairs: list[tuple[str, int]] = [
        *((f"ENF_{bit.name}", bit.value) for bit in model.Access if bit),
        *((f"ENF_{mode.name}", mode.value) for mode in model.Mode),
        *((f"ENF_{verdict.name}", verdict.value) for verdict in model.Verdict),
        *((f"ENF_BY_{mechanism.name}", mechanism.value) for mechanism in model.Mechanism),
        *((f"ENF_HOOK_{hook.name}", hook.value) for hook in model.Hook),
        *((f"ENF_{reserved.name}", reserved.value) for reserved in ids.Reserved),
        *((f"ENF_{state.name}", state.value) for state in image.State),
        *((f"ENF_{target.name}", target.value) for target in image.Target),
        *((f"ENF_{kind.name}", kind.value) for kind in enums.NameKind),
        ("ENF_FIRST_ID", ids.FIRST_ID),
        ("ENF_ABI", abi.ABI),
        ("ENF_SLOTS", abi.SLOTS),
        ("ENF_DOCKER_ID", abi.DOCKER_ID),
        ("ENF_COMM", abi.COMM),
        ("ENF_PATH", abi.PATH),
        ("ENF_PATH_CUT", abi.PATH_CUT),
        ("ENF_EARLIER", abi.EARLIER),
        ("ENF_EARLIER_CAUSE", abi.EARLIER_CAUSE),
        ("ENF_MAX_RANGES", abi.MAX_RANGES),
        ("ENF_MAX_RANGES", image.MAX_RANGES),
        ("ENF_MAX_OPENED", abi.MAX_OPENED),
        *((f"ENF_{special.name}", special.value) for special in ids.Special),
        *((f"ENF_GUARD_{kind.rstrip('s').upper()}", number) for kind, number in abi.GUARDED.items()),
        *((f"ENF_CLASS_{name}", getattr(abi, name)) for name in ("DATA", "EXTERNAL", "INSIDE")),
        *((f"ENF_{name}", getattr(abi, name)) for name in vars(abi) if name.startswith(("LOST_", "SUPPRESSED_"))),
        *((f"ENF_{name}", getattr(abi, name)) for name in vars(abi) if name.startswith(("RING_", "IN_"))),
        *((f"ENF_{name}", getattr(abi, name)) for name in ("COUNTED", "RECORDED", "LOST", "PLACE", "TAKEN_OVER")),
        *((f"ENF_{name}", getattr(abi, name)) for name in ("SERIES", "BATCH", "WINDOW_BITS", "SUBJECTS")),
        ("ENF_EVENTS_PAGES", abi.EVENTS_PAGES),
        ("ENF_ATTEMPTS_PAGES", abi.ATTEMPTS_PAGES),
    ]
    assert [value for _, value in pairs] == answers(tmp_path, [name for name, _ in pairs])


def test_image_fields_are_the_contracts() -> None:
    """Each key and value of an image has fields of the struct that it is packed into."""
    named = {"PREPARED": image.DockerId, "OBJECTS": image.InodeKey, "ROWS": image.RowKey, "CIDRS": image.CidrKey}
    for table, kind in named.items():
        struct = maps.LAYOUT[image.Table[table]][0]
        assert set(kind._fields) <= {field[0] for field in struct._fields_}


def test_plain_records_are_the_structs() -> None:
    """What is decoded at once has the mirror's fields, in its order and at its places."""
    assert Record._fields == tuple(field[0] for field in abi.CEvent._fields_)
    assert ctypes.sizeof(abi.CEvent) == LAYOUT.size
    assert abi.CEvent.subject.offset == SUBJECT_AT
    raw = bytes(n % 251 + 1 for n in range(LAYOUT.size))
    for name, value in record_of(raw)._asdict().items():
        place = getattr(abi.CEvent, name)
        signed = name in ("error", "dirfd")
        assert raw[place.offset : place.offset + place.size] == (
            value if isinstance(value, bytes) else value.to_bytes(place.size, "little", signed=signed)
        )


def test_unknown_sizes_are_refused() -> None:
    """A record of another size is our bug: it is never guessed."""
    with pytest.raises(AbiError):
        record_of(bytes(LAYOUT.size - 1))
    with pytest.raises(AbiError, match="CEvent"):
        abi.decode(abi.CEvent, bytes(ctypes.sizeof(abi.CEvent) - 1))
