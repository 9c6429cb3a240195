/* The numbers that kernel and agent call things by: the enums of contract.h. enforcer/core/enums.py has those that policies speak of. */
#ifndef ENF_ENUMS_H
#define ENF_ENUMS_H

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
	ENF_HOOK_NAME = 30,      /* Docker's resolver is asked for a name that is not on the subject's networks */
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
	ENF_OUTSIDE_NAME = 6,    /* the same for a name that Docker's resolver would ask others for */
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
	ENF_SUPPRESSED_BUDGET = 3,   /* the subject had its number of records in this window */
	ENF_SUPPRESSED_SHARE = 4,    /* the subject's records that nobody has read yet take their share of the ring */
	ENF_LOST_UNJUDGED = 5,   /* a record that was no counted violation (REFUSED, BORN) found the ring full */
	ENF_LOST_JOURNAL = 6,    /* written by the agent: the record was read, but the disk refused it */
	ENF_LOST_UNREADABLE = 8, /* written by the agent: the record is not what this header says */
	ENF_LOST_ACCESSES = 9,   /* the accesses map was full: an allowed access is missing in what `learn` goes by */
	ENF_LOST_SUBJECTS = 7,   /* the subjects map was full: a new cgroup is not governed; never silent */
};

enum enf_ring { ENF_RING_EVENTS = 0, ENF_RING_ATTEMPTS = 1 };

enum enf_account {               /* what a row of the map `accounts` is */
	ENF_COUNTED = 1,         /* violations that only the agent could judge, or that an earlier build counted */
	ENF_RECORDED = 2,        /* violations of a subject that the journal holds */
	ENF_LOST = 3,            /* violations of a subject that it does not hold, by cause */
	ENF_PLACE = 4,           /* how far the agent has come: its last batch */
	ENF_TAKEN_OVER = 5,      /* an earlier build, by its series: its rows have been added to these */
};

enum enf_place_of { ENF_SERIES = 0, ENF_BATCH = 1, ENF_IN_EVENTS = 2, ENF_IN_ATTEMPTS = 3, ENF_IN_REPEATS = 4 };

enum enf_target { ENF_TO_NETWORK = 1, ENF_TO_SUBJECT = 2 };   /* what a connection may be granted to, CIDRs aside */

enum enf_regime { ENF_FREE = 0, ENF_GOVERNED = 1, ENF_QUARANTINED = 2 };
enum enf_sockets { ENF_SOCKET_ICMP = 1, ENF_SOCKET_RAW = 2, ENF_SOCKET_PACKET = 4 };   /* raw ones for ICMP, other raw ones, others */

/* Does Docker's resolver tell capital letters in it apart? An address backwards is one that PTR asks for, the others A, AAAA and MX. */
enum enf_name_kind { ENF_AS_WRITTEN = 1, ENF_ANY_CASE = 2, ENF_BACKWARDS = 3 };

enum enf_flow_state {
	ENF_FLOW_INBOUND = 1,    /* the other side began: answers are free; what map `inbound` says */
	ENF_FLOW_ALLOWED = 2,    /* these three hold for one epoch */
	ENF_FLOW_OBSERVED = 3,
	ENF_FLOW_DENIED = 4,     /* counted once; what it sends again is a packet more, no attempt more */
};

#endif
