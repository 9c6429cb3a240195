/* Outbound connections, judged by who holds the destination's address. */

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

	if (e && e->subject != ENF_HOST && enf_granted_to(generation, profile, ENF_TO_NETWORK, e->network, f))
		return true;
	if (e && (e->subject != ENF_HOST || enf_member(generation, subject, e->network)) &&
	    enf_granted_to(generation, profile, ENF_TO_SUBJECT, e->subject, f))
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

static __always_inline void enf_net_record(const int by_task, const struct enf_count_key *k, u32 generation, u8 mode,
					   const struct enf_flow *f, u8 mechanism)
{
	struct enf_repeat_key key = {.what = *k, .generation = generation, .asked = ENF_CONNECT, .address = f->to,
				     .port = f->port, .protocol = f->protocol};
	struct enf_event *e = enf_begin(by_task, &key, 0, mechanism);

	if (!e)
		return;
	e->mode = mode;
	enf_end(e, &key);
}

/* How the policy sees a subject: a governed one without a row may go nowhere. */
static __always_inline struct enf_net_subject enf_stands(u32 generation, u32 subject)
{
	struct enf_net_key key = {.generation = generation, .subject = subject};
	struct enf_net_subject nothing = {.regime = ENF_GOVERNED, .mode = ENF_ENFORCE}, *n = net_subjects.lookup(&key);

	return n ? *n : nothing;
}

static __always_inline bool enf_has_standing(u32 generation, u32 subject)
{
	struct enf_net_key key = {.generation = generation, .subject = subject};

	return net_subjects.lookup(&key);
}

/* An attempt, judged; counted and recorded unless it is allowed, or has had the same answer before (0: none). */
static __always_inline enum enf_verdict enf_judge_flow(const int by_task, const struct enf_subject *s, u32 generation,
						       struct enf_net_subject n, const struct enf_flow *f, u32 before)
{
	struct enf_endpoint_key key = {.address = f->to, .generation = generation};
	struct enf_count_key count = {.subject = s->id, .access = ENF_CONNECT, .hook = f->hook};
	struct enf_endpoint *e = endpoints.lookup(&key);
	u32 granted = 0;

	if (e && e->subject == s->id)
		return ENF_ALLOWED;
	if (n.regime == ENF_QUARANTINED)
		n.mode = ENF_ENFORCE;
	else if (enf_flow_granted(generation, s->id, n.profile, e, f))
		granted = ENF_CONNECT;
	count.verdict = enf_decide(granted, ENF_CONNECT, n.mode);
	if (count.verdict == ENF_ALLOWED || count.verdict == before)
		return count.verdict;
	enf_blame(&count, generation, n.home, e, f);
	enf_count(&count);
	enf_net_record(by_task, &count, generation, n.mode, f, ENF_BY_CGROUP);
	return count.verdict;
}

/* A flow that is allowed, noted with its first attempt: before it is remembered. An address of the subject's own is not elsewhere. */
static __always_inline void enf_note_flow(const struct enf_subject *s, u32 generation, u32 home, const struct enf_flow *f,
					  struct enf_flow_key *flow)
{
	struct enf_access_key key = {.round = enf_round(), .generation = generation, .subject = s->id, .access = ENF_CONNECT,
				     .hook = f->hook, .mechanism = ENF_BY_CGROUP, .protocol = f->protocol, .port = f->port,
				     .address = f->to};
	struct enf_endpoint_key there = {.address = f->to, .generation = generation};
	struct enf_count_key place = {.subject = s->id};
	struct enf_endpoint *e;

	if (!key.round || flows.lookup(flow))
		return;
	e = endpoints.lookup(&there);
	if (e && e->subject == s->id)
		return;
	enf_blame(&place, generation, home, e, f);
	key.object = place.object;
	key.peer = place.peer;
	key.class_ = place.class_;
	enf_note(&key);
}

/* No rule governs the subject: its attempts are noted all the same, since rules are to be made from them. */
static __always_inline void enf_note_free(const struct enf_subject *s, struct enf_now now, u32 home, const struct enf_flow *f)
{
	struct enf_flow_key key = enf_key_of(f);

	if (!enf_round() || enf_known(&key, now))
		return;
	enf_note_flow(s, now.generation, home, f, &key);
	enf_remember(&key, now.epoch, ENF_FLOW_ALLOWED, 0);
}

/* What is known of an attempt by a governed subject. Of a quarantined one's nothing but that it was refused. */
static __always_inline u32 enf_state_of(struct enf_flow_key *key, struct enf_now now, struct enf_net_subject n)
{
	return n.regime == ENF_QUARANTINED ? enf_known_refused(key, now.epoch) : enf_known(key, now);
}

/* The answer to an attempt of which `state` is known. A socket that tries the same again makes no new attempt. */
static __always_inline enum enf_verdict enf_answer_known(const int by_task, const struct enf_subject *s, struct enf_now now,
							 struct enf_net_subject n, const struct enf_flow *f, u32 state)
{
	struct enf_flow_key key = enf_key_of(f);
	enum enf_verdict verdict;
	u32 before;

	if (state == ENF_FLOW_DENIED)
		return ENF_DENIED;
	if (state && n.regime != ENF_QUARANTINED)
		return ENF_ALLOWED;
	before = f->fresh ? 0 : enf_known_refused(&key, 0);
	verdict = enf_judge_flow(by_task, s, now.generation, n, f,
				 before == ENF_FLOW_DENIED ? ENF_DENIED : before == ENF_FLOW_OBSERVED ? ENF_OBSERVED : 0);
	state = verdict == ENF_DENIED ? ENF_FLOW_DENIED : verdict == ENF_OBSERVED ? ENF_FLOW_OBSERVED : ENF_FLOW_ALLOWED;
	if (verdict == ENF_ALLOWED)
		enf_note_flow(s, now.generation, n.home, f, &key);
	enf_remember(&key, now.epoch, state, before);
	return verdict;
}

/* The answer to an attempt by a governed subject. */
static __always_inline enum enf_verdict enf_answer_flow(const int by_task, const struct enf_subject *s, struct enf_now now,
							struct enf_net_subject n, const struct enf_flow *f)
{
	struct enf_flow_key key = enf_key_of(f);

	return enf_answer_known(by_task, s, now, n, f, f->fresh ? 0 : enf_state_of(&key, now, n));
}

/* The answer to a call that connects or sends, by a subject: 1 lets it go on, 0 fails it with EPERM. */
static __always_inline int enf_judge_net(const struct enf_subject *s, struct enf_now now, const struct enf_flow *f)
{
	struct enf_net_subject n;

	n = enf_stands(now.generation, s->id);
	if (enf_minds_names(n) && f->protocol != ENF_UDP && enf_to_resolver(&f->to))  /* over TCP no query can be told from another */
		return enf_refuse_name(1, s->id, now.generation, n, 0, 0, f->protocol) != ENF_DENIED;
	if (enf_loopback(&f->to))
		return 1;
	if (n.regime != ENF_FREE)
		return enf_answer_flow(1, s, now, n, f) != ENF_DENIED;
	enf_note_free(s, now, n.home, f);
	return 1;
}

/* A stream socket that has no cookie yet: nothing can be known under it. */
static __always_inline bool enf_is_fresh(struct bpf_sock_addr *ctx)
{
	struct sock_common *socket = ctx->protocol == ENF_TCP && ctx->sk ? (void *)bpf_skc_to_tcp_sock(ctx->sk) : 0;

	return socket && !ENF_GET(1, socket, skc_cookie);
}

/* The answer to every call that connects or sends. What its cgroup may do on this flow under this epoch it is not asked again. */
static __always_inline int enf_answer_net(struct bpf_sock_addr *ctx, struct enf_flow *f)
{
	struct enf_now now = enf_now();
	struct enf_recent *r = enf_recent_of(ctx->sk);
	struct enf_subject *s;
	bool same = r && enf_same_flow(r, f);

	if (same && r->by_task == enf_by_this_task(now))
		return 1;
	s = enf_current_subject();
	if (!s)
		return 1;
	f->fresh = enf_is_fresh(ctx);
	f->socket = bpf_get_socket_cookie(ctx);
	if (!enf_judge_net(s, now, f))
		return 0;
	if (same && !enf_round())    /* what no rule governs is noted each time */
		*(volatile u64 *)&r->by_task = enf_by_this_task(now);
	return 1;
}

static __always_inline int enf_to_v4(struct bpf_sock_addr *ctx, u8 hook)
{
	struct enf_flow f = {.protocol = ctx->protocol, .port = bpf_ntohs(ctx->user_port), .hook = hook};
	u32 *w = (u32 *)f.to.bytes;

	w[2] = bpf_htonl(0xffff);
	w[3] = ctx->user_ip4;
	return enf_answer_net(ctx, &f);
}

static __always_inline int enf_to_v6(struct bpf_sock_addr *ctx, u8 hook)
{
	struct enf_flow f = {.protocol = ctx->protocol, .port = bpf_ntohs(ctx->user_port), .hook = hook};
	u32 *w = (u32 *)f.to.bytes;

	w[0] = ctx->user_ip6[0];
	w[1] = ctx->user_ip6[1];
	w[2] = ctx->user_ip6[2];
	w[3] = ctx->user_ip6[3];
	return enf_answer_net(ctx, &f);
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
