/* Whose is the socket that a packet leaves or comes to? */
#ifndef ENF_OWNER_H
#define ENF_OWNER_H

#define ENF_LEVELS 16            /* of cgroups that are looked at upwards; a container's own is on the second or third */

/*
 * Whose a socket is whose cgroup is no subject any more. A cgroup that was removed still knows those that it was in, so one that
 * a container made for itself is found to be the container's; and of a container that has ended, whoever holds its sockets now
 * may use them for nothing but what is allowed already. `ended` says that it is so.
 */
static __always_inline struct enf_subject *enf_owner_once(struct __sk_buff *skb, bool *ended)
{
	struct enf_subject *s = 0;
	u64 cgroup;

	ENF_ROLLED
	for (int level = 1; level < ENF_LEVELS; level++) {
		cgroup = bpf_skb_ancestor_cgroup_id(skb, level);
		if (!cgroup)
			break;
		s = subjects.lookup(&cgroup);
		if (s)
			break;
		s = gone.lookup(&cgroup);
		if (s) {
			*ended = true;
			break;
		}
	}
	return s;
}

/* The subject whose socket sends or gets a packet, or 0 if nothing concerns it on the network. */
static __always_inline struct enf_subject *enf_owner(struct __sk_buff *skb, u32 generation, struct enf_net_subject *n, bool *ended)
{
	u64 cgroup = bpf_skb_cgroup_id(skb);
	struct enf_subject *s = subjects.lookup(&cgroup);

	if (!s)
		s = enf_owner_once(skb, ended);
	if (s && s->state == ENF_ARMED) {
		/* one that was removed as well stands as a container that nobody has named */
		*n = enf_stands(generation, *ended && !enf_has_standing(generation, s->id) ? ENF_UNNAMED : s->id);
		if (n->regime == ENF_FREE)
			s = 0;
	} else {
		s = 0;
	}
	asm volatile("" : "+r"(s));  /* see enf_current_subject */
	return s;
}

/* Has the agent cut this socket off? Only raw ones are: what they may send, and hear, no address tells. */
static __always_inline bool enf_is_cut(struct __sk_buff *skb)
{
	struct bpf_sock *socket = skb->sk;
	u64 cookie;

	if (!socket)
		return false;
	socket = bpf_sk_fullsock(socket);
	if (!socket || socket->type != ENF_SOCK_RAW)
		return false;
	cookie = bpf_get_socket_cookie(skb);
	return cut.lookup(&cookie);
}

#endif
