/* Packets themselves: what no connect or send was judged for, and who began a flow. */

#define ENF_TCP_LISTEN 10
#define ENF_DISCOVERY 128        /* bytes of a packet of neighbour discovery, with options */

static __always_inline void enf_count_packet(u32 network)
{
	u64 zero = 0, *n = packets.lookup_or_try_init(&network, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
}

/* Does the socket's own side listen at this port? Then a flow that is older than we are was begun by the other side. */
static __always_inline bool enf_listens(struct __sk_buff *skb, u16 port)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	bool listens;
	u32 size = skb->protocol == bpf_htons(0x0800) ? sizeof(tuple.ipv4) : sizeof(tuple.ipv6);

	if (size == sizeof(tuple.ipv4)) {
		tuple.ipv4.dport = bpf_htons(port);
		bpf_skb_load_bytes(skb, 12, &tuple.ipv4.daddr, 4);
	} else {
		tuple.ipv6.dport = bpf_htons(port);
		bpf_skb_load_bytes(skb, 8, &tuple.ipv6.daddr, 16);
	}
	found = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!found)
		return false;
	listens = found->state == ENF_TCP_LISTEN;
	bpf_sk_release(found);
	return listens;
}

/* Where the SYN that came first is kept: its port, since no socket of the flow's own exists yet. */
static __always_inline struct enf_flow_key enf_by_port(const struct enf_subject *s, const struct enf_packet *p)
{
	struct enf_flow_key key = enf_key_of(&p->flow);

	key.socket = (u64)s->id << 32 | p->own_port;
	return key;
}

/* Is anything known of a flow, under whichever epoch? */
static __always_inline bool enf_seen(struct enf_flow_key *key)
{

	return flows.lookup(key) || refusals.lookup(key) || inbound.lookup(key);
}

/*
 * Did the other side begin this TCP flow, of which nothing is known that holds? Its SYN has told, or, for flows from before
 * our time, whoever listens. A raw socket writes any port, and a flow that we have seen begin is no older than we are.
 */
static __always_inline bool enf_began_there(struct __sk_buff *skb, const struct enf_subject *s, struct enf_now now, bool raw,
					    const struct enf_packet *p)
{
	struct enf_flow_key own = enf_key_of(&p->flow), by_port = enf_by_port(s, p);

	if (p->flags & ENF_SYN && !(p->flags & ENF_ACK))
		return false;
	if (!enf_inbound(&by_port, now) && (raw || enf_seen(&own) || !enf_listens(skb, p->own_port)))
		return false;
	enf_note_inbound(&own, now, enf_holder(&own.address, now.generation));
	return true;
}

/* Of a container that has ended nothing is an attempt of anybody's: what is known to be allowed is let go, the rest dropped. */
static __always_inline int enf_let_end(const struct enf_packet *p, struct enf_now now, struct enf_net_subject n)
{
	struct enf_flow_key key = enf_key_of(&p->flow);
	u32 state = n.regime == ENF_QUARANTINED ? 0 : enf_known(&key, now);

	if ((state && state != ENF_FLOW_DENIED) || (n.mode == ENF_MONITOR && n.regime != ENF_QUARANTINED))
		return 1;
	enf_count_packet(n.home);
	return 0;
}

/* 255, which is no type, if there is none. */
static __always_inline u8 enf_icmp_type(struct __sk_buff *skb, const struct enf_packet *p)
{
	u8 type;

	return p->next < 2 || bpf_skb_load_bytes(skb, p->next, &type, 1) < 0 ? 255 : type;
}

/*
 * The kernel answers for a container by sockets of its own, which have the container's cgroup: a reset for a port where nobody
 * listens, an echo reply, an ICMP error. A subject that may make raw sockets could forge those, so there they are judged.
 */
static __always_inline bool enf_by_kernel(struct __sk_buff *skb, struct enf_net_subject n, const struct enf_packet *p)
{
	u8 type;

	if (p->flow.protocol == ENF_TCP)
		return p->flags & ENF_RST && !(n.sockets & ENF_SOCKET_RAW);
	if ((p->flow.protocol != ENF_ICMP && p->flow.protocol != ENF_ICMPV6) || n.sockets & (ENF_SOCKET_RAW | ENF_SOCKET_ICMP))
		return false;
	type = enf_icmp_type(skb, p);
	if (p->flow.protocol == ENF_ICMPV6)
		return (type >= 1 && type <= 4) || type == 129;
	return type == 0 || type == 3 || type == 11 || type == 12;
}

/*
 * Neighbour and router discovery and multicast listening (RFC 4861, RFC 2710, RFC 3810): the kernel's own, by a socket that was
 * made with the container's network namespace and so has its cgroup. Without them a container has no IPv6 at all. They are let
 * go on the link only: to link-local addresses, and to addresses on the subject's own networks.
 */
static __always_inline bool enf_of_the_link(struct __sk_buff *skb, u32 generation, u32 subject, struct enf_net_subject n,
					    const struct enf_packet *p)
{
	struct enf_subnet_key subnet = {.prefixlen = 160, .generation = generation, .address = p->flow.to};
	const u8 *to = p->flow.to.bytes;
	u32 *network;
	u8 type = enf_icmp_type(skb, p);

	if (p->flow.protocol != ENF_ICMPV6)
		return false;
	if (!(type >= 130 && type <= 136) && type != 143)
		return false;
	if (n.sockets & (ENF_SOCKET_RAW | ENF_SOCKET_ICMP) && (skb->len > ENF_DISCOVERY || type == 134 || type < 133))
		return false;        /* it could be a forgery: no more than a kernel says */
	if ((to[0] == 0xff && (to[1] & 15) == 2) || (to[0] == 0xfe && (to[1] & 0xc0) == 0x80))
		return true;
	network = subnets.lookup(&subnet);
	return (type == 135 || type == 136) && network && enf_member(generation, subject, *network);
}

/* A packet of a flow is judged as a call is, but for who began. */
static __always_inline enum enf_verdict enf_answer_packet(struct __sk_buff *skb, const struct enf_subject *s, struct enf_now now,
							  struct enf_net_subject n, const struct enf_packet *p)
{
	struct enf_flow_key key = enf_key_of(&p->flow);
	u32 state = enf_state_of(&key, now, n);

	if (!state && p->flow.protocol == ENF_TCP && n.regime != ENF_QUARANTINED &&
	    enf_began_there(skb, s, now, n.sockets & ENF_SOCKET_RAW, p))
		return ENF_ALLOWED;
	return enf_answer_known(0, s, now, n, &p->flow, state);
}

/* Is this the first packet of a connection, or none whose ports are known? Those are not kept: see recent.h. */
static __always_inline bool enf_may_be_kept(const struct enf_packet *p)
{
	return p->next > 1 && (p->flow.protocol == ENF_UDP || (p->flow.protocol == ENF_TCP && !(p->flags & ENF_SYN)));
}

static __always_inline int enf_judge_egress(struct __sk_buff *skb, struct enf_now now)
{
	struct enf_packet p = {.flow.hook = ENF_HOOK_EGRESS};
	struct enf_net_subject n = {};
	struct enf_subject *s;
	bool ended = false;

	s = enf_owner(skb, now.generation, false, &n, &ended);
	if (!s)
		return 1;
	if (!enf_read(skb, true, &p) || enf_is_cut(skb)) {
		enf_count_packet(n.home);
		return 0;
	}
	if (ended && !enf_loopback(&p.flow.to)) {
		p.flow.socket = bpf_get_socket_cookie(skb);
		return enf_let_end(&p, now, n);
	}
	if (enf_minds_names(n) && enf_to_resolver(&p.flow.to)) {
		if (p.flow.protocol == ENF_UDP)
			return enf_answer_name_query(skb, p.content, s, now.generation, n) != ENF_DENIED;
		enf_count_packet(n.home);
		return 0;            /* a connection from before: its beginning was not seen, and no query can be told */
	}
	if (enf_loopback(&p.flow.to) && s->id != ENF_CANARY)
		goto keep;
	if (n.regime != ENF_QUARANTINED && (enf_by_kernel(skb, n, &p) || enf_of_the_link(skb, now.generation, s->id, n, &p)))
		return 1;
	p.flow.socket = bpf_get_socket_cookie(skb);
	if (enf_answer_packet(skb, s, now, n, &p) == ENF_DENIED) {
		enf_count_packet(n.home);
		return 0;
	}
keep:
	if (enf_may_be_kept(&p))
		enf_keep(skb, now, &p.flow);
	return 1;
}

/* A packet leaves. 1 lets it go, 0 drops it; a task that sends just then gets EPERM. */
int enf_egress(struct __sk_buff *skb)
{
	struct enf_now now = enf_now();
	struct enf_recent *r = enf_recent_of(skb->sk);

	if (r && r->by_packet == now.epoch && enf_is_of(skb, true, r))
		return 1;
	return enf_judge_egress(skb, now);
}

static __always_inline int enf_judge_ingress(struct __sk_buff *skb, struct enf_now now)
{
	struct enf_packet p = {};
	struct enf_net_subject n = {};
	struct enf_flow_key key, own;
	struct enf_subject *s;
	bool ended = false;
	u32 holder;

	s = enf_owner(skb, now.generation, enf_round(), &n, &ended);  /* answers are no accesses of their own */
	if (!s)
		return 1;
	if (enf_is_cut(skb))
		return 0;
	if (!enf_read(skb, false, &p) || enf_loopback(&p.flow.to))
		return 1;
	if (n.regime == ENF_QUARANTINED)
		return 0;
	if (p.flow.protocol == ENF_TCP && (!(p.flags & ENF_SYN) || p.flags & ENF_ACK))
		return 1;
	p.flow.socket = bpf_get_socket_cookie(skb);
	own = enf_key_of(&p.flow);   /* of TCP: the connected socket's, if there is one; a listener has begun nothing */
	key = p.flow.protocol == ENF_TCP ? enf_by_port(s, &p) : own;
	if (enf_inbound(&key, now) || enf_begun_here(&own))
		return 1;
	holder = enf_holder(&key.address, now.generation);
	if (holder != s->id)         /* what it sends to itself is free: it must not push out what others have begun */
		enf_note_inbound(&key, now, holder);
	return 1;
}

/* A packet comes. Whoever is written to may answer; of TCP the SYN tells. A quarantined subject hears nothing. */
int enf_ingress(struct __sk_buff *skb)
{
	struct enf_now now = enf_now();
	struct enf_recent *r = enf_recent_of(skb->sk);

	if (r && r->by_packet == now.epoch && enf_is_of(skb, false, r))
		return 1;
	return enf_judge_ingress(skb, now);
}
