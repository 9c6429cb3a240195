/* What is known of a flow: what was judged, and who began it, so that one attempt is judged and counted once. */
#ifndef ENF_FLOW_H
#define ENF_FLOW_H

struct enf_flow {                /* what a task tries: a socket and another side */
	struct enf_address to;
	u64 socket;              /* see struct enf_flow_key */
	u16 port;                /* host order */
	u8 protocol;
	u8 hook;
	bool fresh;              /* the socket has done nothing before: there is nothing to look up */
};

static __always_inline struct enf_flow_key enf_key_of(const struct enf_flow *f)
{
	return (struct enf_flow_key){.socket = f->socket, .address = f->to, .port = f->port, .protocol = f->protocol};
}

/* What was refused, or would have been, under this epoch or (epoch 0) under any: enum enf_flow_state, or 0. */
static __always_inline u32 enf_known_refused(struct enf_flow_key *key, u32 epoch)
{
	struct enf_flow_value *v = refusals.lookup(key);

	return v && (!epoch || v->epoch == epoch) ? v->state : 0;
}

/* Who has the address now: a subject, ENF_HOST, or ENF_NOBODY. */
static __always_inline u32 enf_holder(const struct enf_address *address, u32 generation)
{
	struct enf_endpoint_key key = {.address = *address, .generation = generation};
	struct enf_endpoint *e = endpoints.lookup(&key);

	return e ? e->subject : ENF_NOBODY;
}

static __always_inline void enf_note_inbound(struct enf_flow_key *key, struct enf_now now, u32 holder)
{
	struct enf_inbound v = {.epoch = now.epoch, .holder = holder};

	inbound.update(key, &v);
}

/*
 * Did the other side begin, and has its address not gone to another since? Who has it is asked once an epoch. An address
 * that nobody has is no other's: a container writes as soon as it runs, and the agent looks a moment later; and one that has
 * ended is still told so by the kernel.
 */
static __always_inline bool enf_inbound(struct enf_flow_key *key, struct enf_now now)
{
	struct enf_inbound *v = inbound.lookup(key);
	u32 holder;

	if (!v || v->epoch == now.epoch)
		return v;
	holder = enf_holder(&key->address, now.generation);
	if (holder != ENF_NOBODY && v->holder != ENF_NOBODY && holder != v->holder)
		return false;        /* the entry stays: whoever has the address now has not written */
	enf_note_inbound(key, now, holder == ENF_NOBODY ? v->holder : holder);
	return true;
}

/* What is known of a flow: enum enf_flow_state, or 0. */
static __always_inline u32 enf_known(struct enf_flow_key *key, struct enf_now now)
{
	struct enf_flow_value *v = flows.lookup(key);

	if (v && v->epoch == now.epoch)
		return v->state;
	if (enf_inbound(key, now))
		return ENF_FLOW_INBOUND;
	return enf_known_refused(key, now.epoch);
}

/*
 * Has the subject written first, under whichever epoch? What was dropped has reached nobody: what comes after it is no answer,
 * and a server whose answer was refused, because its entry in `inbound` was pushed out, is written to once more.
 */
static __always_inline bool enf_begun_here(struct enf_flow_key *key)
{

	return flows.lookup(key) || enf_known_refused(key, 0) == ENF_FLOW_OBSERVED;
}

/* `before` is what was known as refused: enum enf_flow_state, or 0. */
static __always_inline void enf_remember(struct enf_flow_key *key, u32 epoch, u32 state, u32 before)
{
	struct enf_flow_value v = {.epoch = epoch, .state = state};

	if (state != ENF_FLOW_ALLOWED) {
		refusals.update(key, &v);
		return;
	}
	flows.update(key, &v);
	if (before)
		refusals.delete(key);     /* refused once more it is an attempt once more */
}

#endif
