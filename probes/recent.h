/*
 * The flow that a socket has, kept with the socket itself: what is asked again for each of its packets is found without a look
 * into a table that is shared by the machine.
 *
 * Only an answer that let go is kept, with the epoch that it holds for; whatever is not exactly the same is judged as ever, and
 * nothing is forgotten or counted otherwise than without this. A socket keeps its first flow, which never changes; of a
 * datagram socket that writes to many others, the rest are found in the map `flows`.
 */
#ifndef ENF_RECENT_H
#define ENF_RECENT_H

/* Epoch and cgroup in one word, so that no reader sees one without the other. The lower half of an id is one living cgroup's. */
static __always_inline u64 enf_by_this_task(struct enf_now now)
{
	return (u64)now.epoch << 32 | (u32)bpf_get_current_cgroup_id();
}

static __always_inline bool enf_same_flow(const struct enf_recent *r, const struct enf_flow *f)
{
	const u64 *one = (const u64 *)r->to.bytes, *other = (const u64 *)f->to.bytes;

	return one[0] == other[0] && one[1] == other[1] && r->port == f->port && r->protocol == f->protocol;
}

static __always_inline struct enf_recent *enf_recent_of(struct bpf_sock *socket)
{
	return socket ? recent.sk_storage_get(socket, 0, 0) : 0;
}

/*
 * Is this plain packet (no options, no extension headers, no fragment) of the flow? `leaves`: else it comes. A SYN that comes
 * tells who begins, and is looked at.
 */
static __always_inline bool enf_is_of(struct __sk_buff *skb, const bool leaves, const struct enf_recent *r)
{
	void *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	const u32 *words = data, *to = (const u32 *)r->to.bytes;
	const u8 *bytes = data;
	const u16 *ports;
	bool same;

	if (skb->protocol == bpf_htons(0x0800)) {
		ports = data + 20;
		if (data + 24 > end || bytes[0] != 0x45 || *(u16 *)(data + 6) & bpf_htons(0x3fff) || bytes[9] != r->protocol)
			return false;
		same = to[3] == words[leaves ? 4 : 3] && to[2] == bpf_htonl(0xffff) && !to[0] && !to[1];
	} else {
		ports = data + 40;
		if (data + 44 > end || bytes[6] != r->protocol)
			return false;
		words += leaves ? 6 : 2;
		same = to[0] == words[0] && to[1] == words[1] && to[2] == words[2] && to[3] == words[3];
	}
	if (!same || ports[leaves] != bpf_htons(r->port))
		return false;
	if (leaves || r->protocol != ENF_TCP)
		return true;
	bytes = (const u8 *)ports;
	return (void *)bytes + 14 <= end && !(bytes[13] & ENF_SYN);
}

/* A packet of the flow was let go. */
static __always_inline void enf_keep(struct __sk_buff *skb, struct enf_now now, const struct enf_flow *f)
{
	struct enf_recent first = {.to = f->to, .port = f->port, .protocol = f->protocol, .by_packet = now.epoch}, *r;
	struct bpf_sock *socket = skb->sk ? bpf_sk_fullsock(skb->sk) : 0;

	if (!socket || socket->type == ENF_SOCK_RAW)
		return;
	r = recent.sk_storage_get(socket, &first, BPF_SK_STORAGE_GET_F_CREATE);
	if (r && enf_same_flow(r, f))
		*(volatile u64 *)&r->by_packet = now.epoch;
}

#endif
