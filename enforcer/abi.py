"""``probes/contract.h`` in Python: the bytes of every key, value and record that cross between kernel and agent.

Each class has the C struct's name without ``enf_`` and the same fields in the same order. ``tests/contract`` compiles the
header and compares sizes, offsets and enum values. Nothing here interprets.
"""

from __future__ import annotations

from ctypes import c_char, c_int32, c_uint8, c_uint16, c_uint32, c_uint64

from enforcer.layout import Record, S, decode, pack

__all__ = ["Record", "S", "decode", "pack"]

ABI = 7
SLOTS = 131_072
DOCKER_ID = 64
DNS_NAME = 128
COMM = 16
PATH = 512
MAX_RANGES = 15
MAX_OPENED = 16_384
PATH_CUT = 0x8000
EARLIER, EARLIER_CAUSE = 0, 256
NO_EPOCH = 0
"""What was found under it is looked for again: the first that is published is 1."""
WINDOW_BITS = 30
SUBJECTS = 65536
EVENTS_PAGES, ATTEMPTS_PAGES = 2048, 256

GUARDED = {"maps": 1, "programs": 2, "links": 3}  # enum enf_guarded, by the directory of pins
LOST_RING, LOST_COUNTS, SUPPRESSED_BUDGET, SUPPRESSED_SHARE = 1, 2, 3, 4  # enum enf_cause
LOST_UNJUDGED, LOST_JOURNAL, LOST_SUBJECTS, LOST_UNREADABLE, LOST_ACCESSES = 5, 6, 7, 8, 9
DATA, EXTERNAL, INSIDE = 1, 2, 3  # enum enf_class
RING_EVENTS, RING_ATTEMPTS = 0, 1  # enum enf_ring
COUNTED, RECORDED, LOST, PLACE, TAKEN_OVER = 1, 2, 3, 4, 5  # enum enf_account
SERIES, BATCH, IN_EVENTS, IN_ATTEMPTS, IN_REPEATS = 0, 1, 2, 3, 4  # enum enf_place_of
FLOW_INBOUND, FLOW_ALLOWED, FLOW_OBSERVED, FLOW_DENIED = 1, 2, 3, 4  # enum enf_flow_state


class Config(Record):
    """struct enf_config"""

    _fields_ = tuple(
        (name, c_uint32) for name in ("generation", "host_mnt_ns", "tracepoint_hooks", "instance", "epoch", "budget")
    )


class Subject(Record):
    """struct enf_subject"""

    _fields_ = (("container", c_uint64), ("id", c_uint32), ("state", c_uint8), ("pad", c_uint8 * 3))


class DockerId(Record):
    """struct enf_docker_id"""

    _fields_ = (("hex", c_uint8 * DOCKER_ID),)


class InodeKey(Record):
    """struct enf_inode_key"""

    _fields_ = (("inode", c_uint64), ("device", c_uint32), ("generation", c_uint32))


class Object(Record):
    """struct enf_object"""

    _fields_ = (("id", c_uint32), ("has_inner", c_uint32), ("version", c_uint32))


class DeviceKey(Record):
    """struct enf_device_key"""

    _fields_ = (("generation", c_uint32), ("device", c_uint32))


class RowKey(Record):
    """struct enf_row_key"""

    _fields_ = (("generation", c_uint32), ("subject", c_uint32), ("object", c_uint32))


class Row(Record):
    """struct enf_row"""

    _fields_ = (("granted", c_uint8), ("mode", c_uint8), ("pad", c_uint8 * 2))


class NetKey(Record):
    """struct enf_net_key"""

    _fields_ = (("generation", c_uint32), ("subject", c_uint32))


class NetSubject(Record):
    """struct enf_net_subject"""

    _fields_ = (
        *((name, c_uint32) for name in ("profile", "home", "scope")),
        *((name, c_uint8) for name in ("regime", "mode", "sockets", "pad")),
    )


class Address(Record):
    """struct enf_address"""

    _fields_ = (("bytes", c_uint8 * 16),)


class EndpointKey(Record):
    """struct enf_endpoint_key"""

    _fields_ = (("address", Address), ("generation", c_uint32))


class Endpoint(Record):
    """struct enf_endpoint"""

    _fields_ = (("subject", c_uint32), ("network", c_uint32))


class NetRowKey(Record):
    """struct enf_net_row_key"""

    _fields_ = (("generation", c_uint32), ("profile", c_uint32), ("target_kind", c_uint32), ("target", c_uint32))


class CidrKey(Record):
    """struct enf_cidr_key"""

    _fields_ = (("prefixlen", c_uint32), ("generation", c_uint32), ("profile", c_uint32), ("address", Address))


class PortRange(Record):
    """struct enf_port_range"""

    _fields_ = (("first", c_uint16), ("last", c_uint16), ("protocol", c_uint16), ("pad", c_uint16))


class Ports(Record):
    """struct enf_ports"""

    _fields_ = (("count", c_uint32), ("pad", c_uint32), ("ranges", PortRange * MAX_RANGES))


class SubnetKey(Record):
    """struct enf_subnet_key"""

    _fields_ = (("prefixlen", c_uint32), ("generation", c_uint32), ("address", Address))


class MemberKey(Record):
    """struct enf_member_key"""

    _fields_ = (("generation", c_uint32), ("subject", c_uint32), ("network", c_uint32))


class NameKey(Record):
    """struct enf_name_key"""

    _fields_ = (("generation", c_uint32), ("scope", c_uint32), ("name", c_uint8 * DNS_NAME))


class FlowKey(Record):
    """struct enf_flow_key"""

    _fields_ = (
        ("socket", c_uint64),
        ("address", Address),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("pad", c_uint8 * 5),
    )


class FlowValue(Record):
    """struct enf_flow_value"""

    _fields_ = (("epoch", c_uint32), ("state", c_uint32))


class Inbound(Record):
    """struct enf_inbound"""

    _fields_ = (("epoch", c_uint32), ("holder", c_uint32))


class GuardKey(Record):
    """struct enf_guard_key"""

    _fields_ = (("kind", c_uint32), ("id", c_uint32))


class CountKey(Record):
    """struct enf_count_key"""

    _fields_ = (
        *((name, c_uint32) for name in ("subject", "object", "peer")),
        *((name, c_uint8) for name in ("class_", "access", "verdict", "hook")),
    )


class Share(Record):
    """struct enf_share"""

    _fields_ = (("sent", c_uint64), ("window", c_uint32), ("used", c_uint32))


class AccountKey(Record):
    """struct enf_account_key"""

    _fields_ = (("kind", c_uint32), ("which", c_uint32), ("what", CountKey))


class AccessKey(Record):
    """struct enf_access_key"""

    _fields_ = (
        *((name, c_uint32) for name in ("round", "generation", "subject", "object", "peer")),
        ("port", c_uint16),
        *((name, c_uint8) for name in ("class_", "access", "hook", "mechanism", "protocol", "pad")),
        ("address", Address),
    )


class AccessValue(Record):
    """struct enf_access_value"""

    _fields_ = (("count", c_uint64), ("first_ns", c_uint64), ("last_ns", c_uint64))


class LossKey(Record):
    """struct enf_loss_key"""

    _fields_ = (("subject", c_uint32), ("cause", c_uint32))


class CEvent(Record):
    """struct enf_event"""

    _fields_ = (
        ("ts_ns", c_uint64),
        ("cgroup_id", c_uint64),
        ("inode", c_uint64),
        *((name, c_uint32) for name in ("device", "subject", "object", "peer", "generation", "count")),
        *((name, c_uint32) for name in ("pid", "tid", "uid")),
        ("error", c_int32),
        ("dirfd", c_int32),
        *(
            (name, c_uint8)
            for name in ("hook", "mechanism", "verdict", "class_", "asked", "granted", "mode", "protocol")
        ),
        ("port", c_uint16),
        ("path_len", c_uint16),
        ("address", Address),
        ("comm", c_char * COMM),
        ("path", c_uint8 * PATH),
    )


class Opened(Record):
    """struct enf_opened"""

    _fields_ = (("began", c_uint64), ("version", c_uint32), ("pad", c_uint32), ("event", CEvent))


class RepeatKey(Record):
    """struct enf_repeat_key"""

    _fields_ = (
        ("what", CountKey),
        ("address", Address),
        ("detail", c_uint64),
        *((name, c_uint32) for name in ("device", "generation", "tgid", "window")),
        ("port", c_uint16),
        ("protocol", c_uint8),
        ("asked", c_uint8),
        ("pad", c_uint32),
    )


class Repeat(Record):
    """struct enf_repeat"""

    _fields_ = (("more", c_uint64), ("first", CEvent))
