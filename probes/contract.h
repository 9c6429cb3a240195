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

#define ENF_ABI 4                /* raised with every change of a layout below; pins of another ABI are not adopted */

enum enf_access { ENF_READ = 1, ENF_WRITE = 2, ENF_EXEC = 4, ENF_CONNECT = 8, ENF_TRACE = 16 };
enum enf_mode { ENF_MONITOR = 0, ENF_ENFORCE = 1 };
enum enf_verdict { ENF_ALLOWED = 0, ENF_OBSERVED = 1, ENF_DENIED = 2, ENF_KILLED = 3 };

enum enf_mechanism {
	ENF_BY_LSM = 1,
	ENF_BY_FMOD_RET = 2,
	ENF_BY_TRACEPOINT = 3,
	ENF_BY_CGROUP = 4,
	ENF_BY_NFT = 5,
	ENF_BY_AUDIT = 6,
	ENF_BY_SWEEP = 7,
	ENF_BY_MOUNT = 8,        /* a read-only mount or the file's own mode had refused before any hook of ours */
	ENF_BY_FEXIT = 9,        /* observes what a kernel function returned */
};

enum enf_hook {
	ENF_HOOK_OPEN = 1,
	ENF_HOOK_UNIX = 2,       /* connect to a unix socket that is a protected file (docker.sock) */
	ENF_HOOK_REFUSED = 3,    /* an open that something else refused: the agent judges the attempt from its path */
	ENF_HOOK_CONNECT4 = 4,
	ENF_HOOK_CONNECT6 = 5,
	ENF_HOOK_SENDMSG4 = 6,
	ENF_HOOK_SENDMSG6 = 7,
	ENF_HOOK_BORN = 8,       /* a container's cgroup appeared; no judgement */
	ENF_HOOK_DIED = 9,
	ENF_HOOK_CREATE = 10,
	ENF_HOOK_MKDIR = 11,
	ENF_HOOK_MKNOD = 12,
	ENF_HOOK_SYMLINK = 13,
	ENF_HOOK_LINK = 14,
	ENF_HOOK_UNLINK = 15,
	ENF_HOOK_RMDIR = 16,
	ENF_HOOK_RENAME = 17,
	ENF_HOOK_SETATTR = 18,   /* chmod, chown, utimes, truncate */
	ENF_HOOK_SETXATTR = 19,  /* set or remove an extended attribute or an ACL */
	ENF_HOOK_RECEIVE = 20,   /* an open file comes over a unix socket or by pidfd_getfd */
	ENF_HOOK_TRACE = 21,     /* ptrace, process_vm_readv, /proc/PID/mem, pidfd_getfd on another's process */
	ENF_HOOK_MOUNT = 22,     /* a filesystem that holds protected data is mounted anew */
	ENF_HOOK_ESCAPE = 23,    /* a task leaves its container's cgroup */
	ENF_HOOK_BPF = 24,       /* the agent's own maps, programs and links are reached for */
	ENF_HOOK_EXEC = 25,      /* tracepoint: a program was started; the others see its open */
	ENF_HOOK_IO_URING = 26,  /* tracepoint: its opens pass no system call */
	ENF_HOOK_SOCKET = 27,    /* a raw or packet socket is made */
	ENF_HOOK_EGRESS = 28,    /* a packet leaves that no call was judged for: ICMP, SCTP, raw, a flow older than the policy */
	ENF_HOOK_SWEEP = 29,     /* the agent found an open flow that the policy does not allow */
};

enum enf_class {                 /* what a count is a count of */
	ENF_CLASS_DATA = 1,      /* subject, object */
	ENF_CLASS_EXTERNAL = 2,  /* subject, network that it would have left */
	ENF_CLASS_INSIDE = 3,    /* subject, network and peer inside the subject's own networks */
};

enum enf_state { ENF_PENDING = 0, ENF_ARMED = 1 };

enum enf_reserved {              /* subject ids with a fixed meaning; the agent hands out ids from ENF_FIRST_ID on */
	ENF_NOBODY = 0,
	ENF_UNNAMED = 1,         /* born without a prepared subject: no row, so no protected object */
	ENF_HOST = 2,            /* as the peer of a connection: the host's own address on a bridge */
	ENF_CANARY = 3,          /* the self-test's scratch cgroup */
	ENF_RAW_SOCKET = 4,      /* as the peer: what no address tells, since a raw socket writes any */
	ENF_PACKET_SOCKET = 5,   /* the same for sockets below or beside IP */
	ENF_FIRST_ID = 16,
};

enum enf_special {               /* object ids that no rule can grant; 3 is the canary's file */
	ENF_TOO_DEEP = 1,        /* more than ENF_MAX_DEPTH directories below the root of a protected filesystem */
	ENF_DETACHED = 2,        /* a file that the kernel holds without its directory (open by handle) */
	ENF_DEVICE = 4,          /* a block device, or a new mount, of a filesystem that holds protected data */
	ENF_PROCESS = 5,         /* a process of another subject, or of the host; `peer` says whose */
	ENF_CGROUP = 6,          /* a cgroup that is not the subject's own */
	ENF_OWN = 7,             /* the agent's own files, maps, programs and links; denied in monitor mode too */
	ENF_JOURNAL = 9,         /* the agent's journal: a log shipper may read it, nobody may write; in monitor mode too */
	ENF_IO_URING = 8,        /* an io_uring, where opens are judged by system calls */
};

enum enf_guarded { ENF_GUARD_MAP = 1, ENF_GUARD_PROGRAM = 2, ENF_GUARD_LINK = 3 };

enum enf_cause {                 /* why a counted violation has no record */
	ENF_LOST_RING = 1,       /* the ring was full */
	ENF_LOST_COUNTS = 2,     /* the counts map was full: the violation is counted here only */
	ENF_SUPPRESSED_BUDGET = 3,
	ENF_SUPPRESSED_REPEAT = 4,
	ENF_LOST_UNJUDGED = 5,   /* a record that was no counted violation (REFUSED, BORN) found the ring full */
	ENF_LOST_JOURNAL = 6,    /* written by the agent: the record was read, but the disk refused it */
	ENF_LOST_UNREADABLE = 8, /* written by the agent: the record is not what this header says */
	ENF_LOST_SUBJECTS = 7,   /* the subjects map was full: a new cgroup is not governed; never silent */
};

#define ENF_PATH_CUT 0x8000
#define ENF_EARLIER 0            /* as the hook of a count: the sum of what earlier builds counted; no program writes such a key */
#define ENF_EARLIER_CAUSE 256    /* the same as a bit of the cause of a loss */

enum enf_target { ENF_TO_NETWORK = 1, ENF_TO_SUBJECT = 2 };   /* what a connection may be granted to, CIDRs aside */

enum enf_regime { ENF_FREE = 0, ENF_GOVERNED = 1, ENF_QUARANTINED = 2 };
enum enf_sockets { ENF_SOCKET_ICMP = 1, ENF_SOCKET_RAW = 2, ENF_SOCKET_PACKET = 4 };   /* raw ones for ICMP, other raw ones, others */

enum enf_flow_state {
	ENF_FLOW_INBOUND = 1,    /* the other side began: answers are free */
	ENF_FLOW_ALLOWED = 2,    /* these three hold for one epoch */
	ENF_FLOW_OBSERVED = 3,
	ENF_FLOW_DENIED = 4,     /* counted once; what it sends again is a packet more, no attempt more */
};

#define ENF_DOCKER_ID 64         /* a container id as Docker writes it: 64 hex digits */
#define ENF_COMM 16              /* TASK_COMM_LEN */
#define ENF_NAME 256             /* NAME_MAX + 1: a component is kept whole */
#define ENF_PATH 512             /* bytes of path kept as evidence, leaf first, NUL after each component */
#define ENF_MAX_RANGES 15        /* port ranges of one grant: the value stays within two cache lines */
#define ENF_MAX_DEPTH 512        /* directories walked upwards; past it a governed container is denied */
#define ENF_PROTO_ANY 0

struct enf_config {              /* map `config`, one slot */
	u32 generation;          /* the live policy load */
	u32 host_mnt_ns;         /* inode number of the host's mount namespace: an exec outside it arms a subject */
	u32 tracepoint_hooks;    /* bit 1 << enum enf_hook: what the sys_exit program answers; the rest has a better one */
	u32 instance;            /* random, kept in the agent's state too: whose numbers these maps speak in */
	u32 epoch;               /* raised after every change of what networks are judged by: flows judged before are judged anew */
};

struct enf_subject {             /* map `subjects`: cgroup id (u64) → this */
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

struct enf_flow_key {            /* LRU maps `flows` and `refusals`: this → struct enf_flow_value */
	u64 socket;              /* the socket's cookie; for a TCP answer that has no socket yet: subject << 32 | own port */
	struct enf_address address;  /* the other side's */
	u16 port;
	u8  protocol;
	u8  pad[5];
};

struct enf_flow_value {
	u32 epoch;
	u32 state;               /* enum enf_flow_state */
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
	char path[ENF_PATH];     /* components leaf first; REFUSED: the path as the program gave it; BORN: the docker id */
};

#endif
