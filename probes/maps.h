/* The maps. Each is pinned; the agent fills them through libbpf and never needs the compiler again. */
#ifndef ENF_MAPS_H
#define ENF_MAPS_H

/* Sizes leave two generations of 10,000 subjects with ten rows each side by side. */
BPF_TABLE("array", u32, struct enf_config, config, 1);
BPF_TABLE("hash", u64, struct enf_subject, subjects, 32768);
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

/* Flows that were judged. What is refused has a map of its own: a storm of refusals must not push lawful flows out. */
BPF_TABLE("lru_hash", struct enf_flow_key, struct enf_flow_value, flows, 131072);
BPF_TABLE("lru_hash", struct enf_flow_key, struct enf_flow_value, refusals, 16384);
BPF_TABLE("percpu_hash", u32, u64, packets, 8192);   /* by network id, written by the kernel: packets that were stopped at egress */
BPF_TABLE("lru_hash", u32, u32, strays, 1024);       /* tasks born outside their parent's container, to be killed at once */

/* What the kernel writes: counts and losses are exact whatever happens to the records in the ring. */
BPF_TABLE("percpu_hash", struct enf_count_key, u64, counts, 65536);
BPF_TABLE("percpu_hash", struct enf_loss_key, u64, losses, 32768);

/*
 * What was allowed, for `run --record accesses`: the agent's round of reading, 0 while nobody asks for it. A program reads the round
 * once and writes entries of that round only, so that those of a round that is over are final once running programs have ended.
 */
BPF_TABLE("array", u32, u32, recording, 1);
BPF_F_TABLE("hash", struct enf_access_key, struct enf_access_value, accesses, 65536, BPF_F_NO_PREALLOC);

BPF_TABLE("hash", u32, u64, recorded, 32768);        /* by subject, written by the agent: violations that the journal holds */
BPF_RINGBUF_OUTPUT(attempts, 256);       /* what others refused: dear to judge and free to provoke, so it has a ring of its own */
BPF_RINGBUF_OUTPUT(events, 2048);        /* pages: 8 MiB, some 13,000 records between two drains */

#endif
