/* Outbound connections, judged by who holds the destination's address. */

static __always_inline bool enf_v4(const struct enf_address *a)
{
	const u32 *w = (const u32 *)a->bytes;

	return !w[0] && !w[1] && w[2] == bpf_htonl(0xffff);
}

/* Loopback, and the unspecified address, which connects to loopback. */
static __always_inline bool enf_loopback(const struct enf_address *a)
{
	const u32 *w = (const u32 *)a->bytes;

	if (enf_v4(a))
		return a->bytes[12] == 127 || !w[3];
	return !w[0] && !w[1] && !w[2] && (!w[3] || w[3] == bpf_htonl(1));
}

struct enf_flow {
	struct enf_address to;
	u32 protocol;
	u16 port;                /* host order */
	u8 hook;
};

static __always_inline bool enf_granted_to(u32 generation, u32 profile, u32 kind, u32 target, const struct enf_flow *f)
{
	struct enf_net_row_key key = {
		.generation = generation, .profile = profile, .target_kind = kind, .target = target,
	};
	struct enf_ports *ports = net_rows.lookup(&key);

	return ports && enf_ports_allow(ports, f->protocol, f->port);
}

static __always_inline bool enf_member(u32 generation, u32 subject, u32 network)
{
	struct enf_member_key key = {.generation = generation, .subject = subject, .network = network};

	return members.lookup(&key);
}

/* Does any grant cover the flow? `e` is who holds the address, or 0; the host is granted on the subject's own networks only. */
static __always_inline bool enf_flow_granted(u32 generation, u32 subject, u32 profile, struct enf_endpoint *e,
					     const struct enf_flow *f)
{
	struct enf_cidr_key key = {.prefixlen = 192, .generation = generation, .profile = profile, .address = f->to};
	struct enf_ports *ports;

	if (e && (e->subject != ENF_HOST || enf_member(generation, subject, e->network)) &&
	    enf_granted_to(generation, profile, ENF_TO_SUBJECT, e->subject, f))
		return true;
	if (e && e->subject != ENF_HOST && enf_granted_to(generation, profile, ENF_TO_NETWORK, e->network, f))
		return true;
	ports = cidrs.lookup(&key);
	return ports && enf_ports_allow(ports, f->protocol, f->port);
}

/* After a no: is the address inside the subject's own networks, or would the flow have left them? */
static __always_inline void enf_blame(struct enf_count_key *k, u32 generation, u32 home, struct enf_endpoint *e,
				      const struct enf_flow *f)
{
	struct enf_subnet_key subnet = {.prefixlen = 160, .generation = generation, .address = f->to};
	u32 *network = e ? &e->network : subnets.lookup(&subnet);

	k->class_ = ENF_CLASS_EXTERNAL;
	k->object = home;
	if (!network || !enf_member(generation, k->subject, *network))
		return;
	k->class_ = ENF_CLASS_INSIDE;
	k->object = *network;
	k->peer = e ? e->subject : 0;
}

static __always_inline void enf_net_record(const struct enf_count_key *k, u32 generation, u8 mode, const struct enf_flow *f)
{
	struct enf_event *e = enf_begin(k->subject, generation, k->hook, ENF_BY_CGROUP);

	if (!e)
		return;
	e->object = k->object;
	e->peer = k->peer;
	e->verdict = k->verdict;
	e->class_ = k->class_;
	e->asked = ENF_CONNECT;
	e->mode = mode;
	e->protocol = f->protocol;
	e->port = f->port;
	e->address = f->to;
	enf_end(e);
}

/* The one answer to every network hook: 1 lets the call go on, 0 fails it with EPERM. */
static __always_inline int enf_answer_net(const struct enf_flow *f)
{
	struct enf_subject *s = enf_current_subject();
	u32 generation = enf_generation();
	struct enf_endpoint_key key = {.address = f->to, .generation = generation};
	struct enf_net_key who = {.generation = generation};
	struct enf_net_subject nothing = {.governed = 1, .mode = ENF_ENFORCE}, *n;
	struct enf_count_key count = {.access = ENF_CONNECT, .hook = f->hook};
	struct enf_endpoint *e;
	u32 granted;

	if (!s || enf_loopback(&f->to))
		return 1;
	who.subject = count.subject = s->id;
	n = net_subjects.lookup(&who);
	if (!n)
		n = &nothing;        /* a governed subject with no row is denied */
	if (!n->governed)
		return 1;
	e = endpoints.lookup(&key);
	if (e && e->subject == s->id)
		return 1;
	granted = enf_flow_granted(generation, s->id, n->profile, e, f) ? ENF_CONNECT : 0;
	count.verdict = enf_decide(granted, ENF_CONNECT, n->mode);
	if (count.verdict == ENF_ALLOWED)
		return 1;
	enf_blame(&count, generation, n->home, e, f);
	enf_count(&count);
	enf_net_record(&count, generation, n->mode, f);
	return count.verdict == ENF_OBSERVED;
}

static __always_inline int enf_to_v4(struct bpf_sock_addr *ctx, u8 hook)
{
	struct enf_flow f = {.protocol = ctx->protocol, .port = bpf_ntohs(ctx->user_port), .hook = hook};
	u32 *w = (u32 *)f.to.bytes;

	w[2] = bpf_htonl(0xffff);
	w[3] = ctx->user_ip4;
	return enf_answer_net(&f);
}

static __always_inline int enf_to_v6(struct bpf_sock_addr *ctx, u8 hook)
{
	struct enf_flow f = {.protocol = ctx->protocol, .port = bpf_ntohs(ctx->user_port), .hook = hook};
	u32 *w = (u32 *)f.to.bytes;

	w[0] = ctx->user_ip6[0];
	w[1] = ctx->user_ip6[1];
	w[2] = ctx->user_ip6[2];
	w[3] = ctx->user_ip6[3];
	return enf_answer_net(&f);
}

/*
 * A task connects a socket (TCP, or UDP with a fixed peer). An address of another family is the kernel's to refuse: it has its
 * own error for that, and nothing is reached.
 */
int enf_connect4(struct bpf_sock_addr *ctx)
{
	return ctx->user_family == ENF_AF_INET ? enf_to_v4(ctx, ENF_HOOK_CONNECT4) : 1;
}

int enf_connect6(struct bpf_sock_addr *ctx)
{
	return ctx->user_family == ENF_AF_INET6 ? enf_to_v6(ctx, ENF_HOOK_CONNECT6) : 1;
}

/* A task sends a datagram to an address of its own choice. */
int enf_sendmsg4(struct bpf_sock_addr *ctx)
{
	return enf_to_v4(ctx, ENF_HOOK_SENDMSG4);
}

int enf_sendmsg6(struct bpf_sock_addr *ctx)
{
	return enf_to_v6(ctx, ENF_HOOK_SENDMSG6);
}
