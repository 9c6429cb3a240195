/* The maps. Each is pinned; the agent fills them through libbpf and never needs the compiler again. */
#ifndef ENF_MAPS_H
#define ENF_MAPS_H

#define ENF_MAPPED (1 << 10)     /* BPF_F_MMAPABLE */

struct enf_recent {              /* map `recent`: a socket's first flow; the kernel's alone */
	struct enf_address to;
	u64 by_packet;           /* the epoch under which its packets are let go */
	u16 port;
	u8 protocol;
	u8 pad[5];
	u64 by_task;             /* epoch << 32 | cgroup: whose tasks may send on it without being asked again; 0: nobody's */
};

/* Sizes leave two generations of 10,000 subjects with ten rows each side by side. */
BPF_TABLE("array", u32, struct enf_config, config, 1);
BPF_TABLE("hash", u64, struct enf_subject, subjects, 32768);
BPF_TABLE("array", u32, u64, subject_slots, ENF_SLOTS);        /* 1: some cgroup of `subjects` may have this slot; 0: none has */
BPF_TABLE("array", u32, u64, object_slots, ENF_SLOTS);         /* the same of the inode numbers of `objects` */
BPF_TABLE("lru_hash", u64, struct enf_subject, gone, 16384);   /* containers that have ended: their sockets may be held elsewhere */
BPF_TABLE("hash", struct enf_docker_id, u32, prepared, 16384);
BPF_TABLE("hash", struct enf_inode_key, struct enf_object, objects, 131072);
BPF_TABLE("hash", struct enf_device_key, u32, filesystems, 32768);
BPF_TABLE("hash", struct enf_guard_key, u32, guarded, 1024);
BPF_TABLE("hash", struct enf_row_key, struct enf_row, rows, 262144);
BPF_TABLE("hash", struct enf_net_key, struct enf_net_subject, net_subjects, 32768);
BPF_F_TABLE("hash", struct enf_net_row_key, struct enf_ports, net_rows, 65536, BPF_F_NO_PREALLOC);
BPF_TABLE("hash", struct enf_endpoint_key, struct enf_endpoint, endpoints, 65536);
BPF_TABLE("hash", struct enf_member_key, u32, members, 65536);
BPF_F_TABLE("lpm_trie", struct enf_cidr_key, struct enf_ports, cidrs, 262144, BPF_F_NO_PREALLOC);
BPF_F_TABLE("lpm_trie", struct enf_subnet_key, u32, subnets, 8192, BPF_F_NO_PREALLOC);

BPF_F_TABLE("hash", struct enf_name_key, u32, names, 131072, BPF_F_NO_PREALLOC);

/*
 * Flows that were judged. What is refused, and what the other side began, have maps of their own: a storm of the ones must not
 * push out the others. Who pushes out an entry of `inbound` has written first to governed containers from as many ports
 * (to any container while allowed accesses are recorded).
 */
BPF_TABLE("lru_hash", struct enf_flow_key, struct enf_flow_value, flows, 131072);
BPF_TABLE("lru_hash", struct enf_flow_key, struct enf_flow_value, refusals, 16384);
BPF_TABLE("lru_hash", struct enf_flow_key, struct enf_inbound, inbound, 131072);
BPF_TABLE("hash", u32, struct enf_recent, recent, 1);    /* with each socket (see recent.h): the loader makes it a storage of sockets */
BPF_TABLE("lru_hash", u64, struct enf_flow_value, cut, 16384);         /* raw sockets from before they were forbidden; the agent's word */
BPF_TABLE("percpu_hash", u32, u64, packets, 8192);   /* by network id, written by the kernel: packets that were stopped at egress */
BPF_TABLE("lru_hash", u32, u32, strays, 1024);       /* tasks born outside their parent's container, to be killed at once */

/* What the kernel writes: counts and losses are exact whatever happens to the records in the ring. */
BPF_TABLE("percpu_hash", struct enf_count_key, u64, counts, 65536);
BPF_TABLE("percpu_hash", struct enf_loss_key, u64, losses, 32768);

/* What of it is told one by one: see storm.h. The agent's account of it has a row for each subject and cause. */
BPF_TABLE("hash", struct enf_repeat_key, struct enf_repeat, repeats, 8192);
BPF_TABLE("array", u32, struct enf_repeat, blank, 1);                        /* zeros: a value too large for the stack */
BPF_F_TABLE("array", u32, struct enf_share, shares, 2 * ENF_SUBJECTS, ENF_MAPPED);
BPF_F_TABLE("array", u32, u64, taken, 2 * ENF_SUBJECTS, ENF_MAPPED);
BPF_F_TABLE("hash", struct enf_account_key, u64, accounts, 262144, BPF_F_NO_PREALLOC);
BPF_TABLE("array", u32, struct enf_opened, opened, 1);   /* where a record of opened.c is put together; one reader at a time */
BPF_F_TABLE("hash", u32, u64, told, 32768, BPF_F_NO_PREALLOC);  /* by subject, emptied by the agent before each look: records of opened.c */
/*
 * What was allowed, for `run --record accesses`: the agent's round of reading, 0 while nobody asks for it. A program reads the round
 * once and writes entries of that round only, so that those of a round that is over are final once running programs have ended.
 */
BPF_TABLE("array", u32, u32, recording, 1);
BPF_F_TABLE("hash", struct enf_access_key, struct enf_access_value, accesses, 65536, BPF_F_NO_PREALLOC);

BPF_RINGBUF_OUTPUT(attempts, ENF_ATTEMPTS_PAGES);    /* what others refused: dear to judge and free to provoke, so it has a ring of its own */
BPF_RINGBUF_OUTPUT(events, ENF_EVENTS_PAGES);

#endif
