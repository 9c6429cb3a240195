/*
 * What the kernel and the agent say to each other: every record, key, enum and size, declared once.
 *
 * enforcer/abi.py mirrors this file and tests/contract proves it with the C compiler, so it must stay plain C that gcc
 * and bcc's clang both read: fixed-width types, natural alignment, explicit padding, no kernel header.
 *
 * Everything that decides is keyed by `generation`, the number of the policy load it belongs to. A new policy is written
 * beside the running one and becomes live when `enf_config.generation` is set: one store, after all its rows.
 */
#ifndef ENF_CONTRACT_H
#define ENF_CONTRACT_H

#define ENF_ABI 7                /* raised with every change of a layout below; pins of another ABI are not adopted */

#include "enums.h"

#define ENF_PATH_CUT 0x8000
#define ENF_EARLIER 0            /* as the hook of a count: the sum of what earlier builds counted; no program writes such a key */
#define ENF_EARLIER_CAUSE 256    /* the same as a bit of the cause of a loss */

#define ENF_DNS_NAME 128         /* bytes of a name in a query that are looked at; a longer one is nobody's here */
#define ENF_DOCKER_ID 64         /* a container id as Docker writes it: 64 hex digits */
#define ENF_COMM 16              /* TASK_COMM_LEN */
#define ENF_NAME 256             /* NAME_MAX + 1: a component is kept whole */
#define ENF_PATH 512             /* bytes of path kept as evidence, leaf first, NUL after each component */
#define ENF_MAX_RANGES 15        /* port ranges of one grant: the value stays within two cache lines */
#define ENF_SLOTS 131072         /* of each map of slots: the lower bits of a key say which; a power of two */
#define ENF_MAX_DEPTH 512        /* directories walked upwards; past it a governed container is denied */
#define ENF_PROTO_ANY 0
#define ENF_MAX_OPENED 16384     /* open files of one subject that one look tells of */

#define ENF_WINDOW_BITS 30       /* what is the same within 2^30 ns (1.07 s) is one record more; a budget is for as long */
#define ENF_SUBJECTS 65536       /* that have a share of their own in a ring; those beyond have one together with another */
#define ENF_EVENTS_PAGES 2048    /* the rings, in pages: 8 MiB, 12,945 records */
#define ENF_ATTEMPTS_PAGES 256

struct enf_config {              /* map `config`, one slot */
	u32 generation;          /* the live policy load */
	u32 host_mnt_ns;         /* inode number of the host's mount namespace: an exec outside it arms a subject */
	u32 tracepoint_hooks;    /* bit 1 << enum enf_hook: what the sys_exit program answers; the rest has a better one */
	u32 instance;            /* random, kept in the agent's state too: whose numbers these maps speak in */
	u32 epoch;               /* raised after every change of what networks are judged by: flows judged before are judged anew */
	u32 budget;              /* records of one subject in a window; 0: as many as there are */
};

struct enf_subject {             /* maps `subjects`, `gone`: cgroup id (u64) → this */
	u64 container;           /* id of the container's own cgroup: nested ones, and unnamed containers, are told apart by it */
	u32 id;
	u8  state;               /* enum enf_state */
	u8  pad[3];
};

struct enf_docker_id {           /* map `prepared`: this → subject id (u32) */
	char hex[ENF_DOCKER_ID];
};

struct enf_inode_key {           /* map `objects`: this → struct enf_object */
	u64 inode;
	u32 device;              /* the kernel's s_dev: major << 20 | minor */
	u32 generation;
};

struct enf_object {
	u32 id;
	u32 has_inner;           /* 1: another object lies beneath this one, so the mount root does not settle it: walk */
	u32 version;             /* the inode's i_generation: its number may come back with another file; 0: not known */
};

struct enf_device_key {          /* map `filesystems`: this → u32 1; only there is a walk worth its cost */
	u32 generation;
	u32 device;
};

struct enf_row_key {             /* map `rows`: this → struct enf_row; object 0 is the subject's default row */
	u32 generation;
	u32 subject;
	u32 object;
};

struct enf_row {
	u8 granted;              /* enum enf_access bits */
	u8 mode;                 /* enum enf_mode for what is not granted */
	u8 pad[2];
};

struct enf_net_key {             /* map `net_subjects`: this → struct enf_net_subject */
	u32 generation;
	u32 subject;
};

struct enf_net_subject {
	u32 profile;             /* containers with the same network grants share a profile */
	u32 home;                /* network id that an external attempt is counted for */
	u32 scope;               /* whose names it may ask Docker's resolver for (map `names`); 0: any */
	u8  regime;              /* enum enf_regime */
	u8  mode;
	u8  sockets;             /* enum enf_sockets bits */
	u8  pad;
};

struct enf_address {             /* IPv6, or IPv4 as ::ffff:a.b.c.d: both families are one */
	u8 bytes[16];
};

struct enf_endpoint_key {        /* map `endpoints`: whose address is this? */
	struct enf_address address;
	u32 generation;
};

struct enf_endpoint {
	u32 subject;             /* a container, or ENF_HOST */
	u32 network;
};

struct enf_net_row_key {         /* map `net_rows`: this → struct enf_ports */
	u32 generation;
	u32 profile;
	u32 target_kind;         /* enum enf_target */
	u32 target;              /* network id or subject id */
};

struct enf_cidr_key {            /* LPM map `cidrs`: this → struct enf_ports; prefixlen counts generation and profile */
	u32 prefixlen;
	u32 generation;
	u32 profile;
	struct enf_address address;
};

struct enf_port_range {
	u16 first, last;         /* inclusive; ICMP has no ports and uses 0-65535 */
	u16 protocol;            /* IPPROTO_*, or ENF_PROTO_ANY */
	u16 pad;
};

struct enf_ports {               /* count 0 grants nothing (an `except`) */
	u32 count;
	u32 pad;
	struct enf_port_range ranges[ENF_MAX_RANGES];
};

struct enf_subnet_key {          /* LPM map `subnets`: this → network id (u32); prefixlen counts generation */
	u32 prefixlen;
	u32 generation;
	struct enf_address address;
};

struct enf_member_key {          /* map `members`: this → u32 1 */
	u32 generation;
	u32 subject;
	u32 network;
};

struct enf_name_key {            /* map `names`: this → u32 enum enf_name_kind; what Docker's resolver answers by itself */
	u32 generation;
	u32 scope;               /* a set of networks and of links */
	char name[ENF_DNS_NAME]; /* as in a query: a length before each label, 0 at the end, 0 after it; of ENF_ANY_CASE in small letters */
};

struct enf_flow_key {            /* LRU maps `flows`, `refusals`: this → struct enf_flow_value; `inbound`: → struct enf_inbound */
	u64 socket;              /* the socket's cookie; of a TCP flow that comes: subject << 32 | own port */
	struct enf_address address;  /* the other side's */
	u16 port;
	u8  protocol;
	u8  pad[5];
};

struct enf_flow_value {          /* also the value of map `cut`: a socket's cookie (u64) → this */
	u32 epoch;
	u32 state;               /* enum enf_flow_state */
};

struct enf_inbound {             /* the other side began: answers are free as long as its address is the same one's */
	u32 epoch;               /* under which `holder` was last looked up; 0: look again */
	u32 holder;              /* who had the address then: a subject, ENF_HOST, or ENF_NOBODY */
};

struct enf_guard_key {           /* map `guarded`: this → u32 1; the agent's own, closed to every subject */
	u32 kind;                /* enum enf_guarded */
	u32 id;                  /* the kernel's number of it */
};

struct enf_count_key {           /* per-CPU map `counts`: this → u64 */
	u32 subject;
	u32 object;              /* data object id, or network id */
	u32 peer;                /* INSIDE: the subject that holds the destination; ENF_PROCESS: whose it is; else 0 */
	u8  class_;              /* enum enf_class */
	u8  access;              /* enum enf_access bits that were asked for and not granted */
	u8  verdict;
	u8  hook;
};

/*
 * Array `shares`, written by the kernel; array `taken` (u64) beside it, by the agent: what it has read of them. The index is
 * enum enf_ring << 16 | the lower bits of the subject; that of ENF_NOBODY is all of them together.
 */
struct enf_share {
	u64 sent;                /* records since the maps were made */
	u32 window;              /* the last one in which there was a record */
	u32 used;                /* records in that window */
};

struct enf_account_key {         /* map `accounts`: this → u64; what the agent knows and the kernel does not */
	u32 kind;                /* enum enf_account */
	u32 which;               /* LOST: enum enf_cause; PLACE: enum enf_place_of */
	struct enf_count_key what;
};

struct enf_access_key {          /* map `accesses`: this → struct enf_access_value; what was allowed, while the agent asks for it */
	u32 round;               /* of the agent's reading; 0: taken over from an earlier build */
	u32 generation;
	u32 subject;
	u32 object;              /* as in a count */
	u32 peer;
	u16 port;                /* of a connection; host order */
	u8  class_;
	u8  access;
	u8  hook, mechanism;
	u8  protocol;
	u8  pad;
	struct enf_address address;
};

struct enf_access_value {
	u64 count;
	u64 first_ns, last_ns;   /* CLOCK_BOOTTIME */
};

struct enf_loss_key {            /* per-CPU map `losses`: this → u64 */
	u32 subject;
	u32 cause;               /* enum enf_cause */
};

struct enf_event {               /* one record of the ring */
	u64 ts_ns;               /* CLOCK_BOOTTIME */
	u64 cgroup_id;
	u64 inode;
	u32 device;
	u32 subject;
	u32 object;
	u32 peer;
	u32 generation;
	u32 count;               /* identical violations that this record stands for */
	u32 pid, tid, uid;
	s32 error;               /* REFUSED: the errno that the system call returned, negative; else 0 */
	s32 dirfd;               /* REFUSED: the directory that a relative path starts from */
	u8  hook, mechanism, verdict, class_;
	u8  asked, granted, mode, protocol;
	u16 port;
	u16 path_len;            /* bytes used in path; the top bit says that its upper end is missing */
	struct enf_address address;
	char comm[ENF_COMM];
	char path[ENF_PATH];     /* components leaf first; REFUSED: the path as the program gave it; BORN: the docker id; NAME: the name */
};

struct enf_opened {              /* one record of the iterators of opened.c, and the one slot of the map `opened` */
	u64 began;               /* when the process did, CLOCK_BOOTTIME: its number may come back */
	u32 version;             /* the inode's i_generation: so may that */
	u32 pad;
	struct enf_event event;  /* without a time, a hook and a verdict: the agent's */
};

/* Map `repeats`: this → struct enf_repeat. Whatever tells two violations apart for who reads the log is in the key. */
struct enf_repeat_key {
	struct enf_count_key what;
	struct enf_address address;
	u64 detail;              /* of the file, or of the name that was asked for */
	u32 device;
	u32 generation;
	u32 tgid;                /* 0 for a packet */
	u32 window;              /* CLOCK_BOOTTIME >> ENF_WINDOW_BITS: nobody adds to an entry of a window that is over */
	u16 port;
	u8  protocol;
	u8  asked;
	u32 pad;
};

struct enf_repeat {
	u64 more;                /* after the first, which is a record of its own */
	struct enf_event first;
};

#endif
