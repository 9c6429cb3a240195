/* What happened: the exact count first, then a record for the log, which may be lost but never uncounted. */
#ifndef ENF_EMIT_H
#define ENF_EMIT_H

#define ENF_RING_QUIET 1         /* BPF_RB_NO_WAKEUP: the agent polls; an interrupt for each record costs ten times the record */

static __always_inline void enf_lose(u32 subject, u32 cause)
{
	struct enf_loss_key key = {.subject = subject, .cause = cause};
	u64 one = 1, *n = losses.lookup(&key);

	if (n)
		__sync_fetch_and_add(n, 1);  /* a preemptible kernel may run two programs in turn on one CPU */
	else
		losses.update(&key, &one);
}

static __always_inline void enf_count(const struct enf_count_key *key)
{
	struct enf_count_key k = *key;
	u64 zero = 0, *n = counts.lookup_or_try_init(&k, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		enf_lose(k.subject, ENF_LOST_COUNTS);
}

/* by_task: the current task is who tries; a packet may leave or come while any other runs. */
static __always_inline void enf_fill(const int by_task, struct enf_event *e, u32 subject, u8 hook, u8 mechanism)
{
	u64 ids;

	__builtin_memset(e, 0, __builtin_offsetof(struct enf_event, path));
	e->ts_ns = bpf_ktime_get_boot_ns();
	e->subject = subject;
	e->count = 1;
	e->hook = hook;
	e->mechanism = mechanism;
	if (!by_task)
		return;
	ids = bpf_get_current_pid_tgid();
	e->pid = ids >> 32;
	e->tid = (u32)ids;
	e->uid = (u32)bpf_get_current_uid_gid();
	e->cgroup_id = bpf_get_current_cgroup_id();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
}

/* A record with all that is common to every hook, or 0 if the ring is full, which is counted. */
static __always_inline struct enf_event *enf_begin_by(const int by_task, u32 subject, u32 generation, u8 hook, u8 mechanism)
{
	struct enf_event *e = events.ringbuf_reserve(sizeof(*e));

	if (!e) {
		enf_lose(subject, hook == ENF_HOOK_BORN ? ENF_LOST_UNJUDGED : ENF_LOST_RING);
		return 0;
	}
	enf_fill(by_task, e, subject, hook, mechanism);
	e->generation = generation;
	return e;
}

static __always_inline struct enf_event *enf_begin(u32 subject, u32 generation, u8 hook, u8 mechanism)
{
	return enf_begin_by(1, subject, generation, hook, mechanism);
}

/* The same for an attempt that something else refused, in the other ring. */
static __always_inline struct enf_event *enf_attempts_begin(u32 subject)
{
	struct enf_event *e = attempts.ringbuf_reserve(sizeof(*e));

	if (!e) {
		enf_lose(subject, ENF_LOST_UNJUDGED);
		return 0;
	}
	enf_fill(1, e, subject, ENF_HOOK_REFUSED, ENF_BY_MOUNT);
	e->generation = enf_generation();
	return e;
}

static __always_inline void enf_end(struct enf_event *e)
{
	events.ringbuf_submit(e, ENF_RING_QUIET);
}

#endif
