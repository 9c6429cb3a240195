/* What happened: the exact count first, then a record for the log, which may be lost but never uncounted. */
#ifndef ENF_EMIT_H
#define ENF_EMIT_H

/*
 * The agent is woken by the first record after it has taken all those before, and by no other (kernel/bpf/ringbuf.c: only if the
 * consumer stands at this very record). It reads no more often than every DRAIN_S, so a storm has as many interrupts; one for
 * each record (BPF_RB_FORCE_WAKEUP) would cost ten times the record.
 */
#define ENF_RING_WAKE 0

static __always_inline void enf_lose(u32 subject, u32 cause)
{
	struct enf_loss_key key = {.subject = subject, .cause = cause};
	u64 one = 1, *n = losses.lookup(&key);

	if (n)
		__sync_fetch_and_add(n, 1);  /* a preemptible kernel may run two programs in turn on one CPU */
	else
		losses.update(&key, &one);
}

static __always_inline void enf_count(struct enf_count_key *key)
{
	u64 zero = 0, *n = counts.lookup_or_try_init(key, &zero);

	if (n)
		__sync_fetch_and_add(n, 1);
	else
		enf_lose(key->subject, ENF_LOST_COUNTS);
}

#include "storm.h"

/* by_task: the current task is who tries; a packet may leave or come while any other runs. */
static __always_inline void enf_fill(const int by_task, struct enf_event *e, const struct enf_repeat_key *key, u8 mechanism)
{
	u64 ids;

	__builtin_memset(e, 0, __builtin_offsetof(struct enf_event, path));
	e->ts_ns = bpf_ktime_get_boot_ns();
	e->subject = key->what.subject;
	e->object = key->what.object;
	e->peer = key->what.peer;
	e->class_ = key->what.class_;
	e->verdict = key->what.verdict;
	e->hook = key->what.hook;
	e->generation = key->generation;
	e->asked = key->asked;
	e->device = key->device;
	e->protocol = key->protocol;
	e->port = key->port;
	e->address = key->address;
	e->count = 1;
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

/*
 * A record with all that is common to every hook, or 0 if there is to be none, which is counted: the same has happened just
 * before, the subject has had its share, the ring is full. `key` says what makes another the same; `name` see enf_same_name.
 */
static __always_inline struct enf_event *enf_begin(const int by_task, struct enf_repeat_key *key, const char *name, u8 mechanism)
{
	struct enf_event *e;
	u32 cause;

	key->window = enf_window();
	key->tgid = by_task ? bpf_get_current_pid_tgid() >> 32 : 0;
	/* the canary looks for a record of each attempt at once */
	if (key->what.subject != ENF_CANARY && enf_repeated(key, name))
		return 0;
	cause = enf_barred(key->what.subject, ENF_RING_EVENTS, ENF_EVENTS_PAGES);
	e = cause ? 0 : events.ringbuf_reserve(sizeof(*e));
	if (!e) {
		enf_lose(key->what.subject, cause ? cause : ENF_LOST_RING);
		return 0;
	}
	enf_fill(by_task, e, key, mechanism);
	return e;
}

static __always_inline void enf_end(struct enf_event *e, struct enf_repeat_key *key)
{
	enf_expect_more(key, e);
	enf_sent(key->what.subject, ENF_RING_EVENTS);
	events.ringbuf_submit(e, ENF_RING_WAKE);
}

/* The record of a container's birth, which is no violation: whoever may make cgroups at will is no better than any hog. */
static __always_inline struct enf_event *enf_begin_birth(struct enf_repeat_key *key)
{
	struct enf_event *e = 0;

	if (!enf_barred(key->what.subject, ENF_RING_EVENTS, ENF_EVENTS_PAGES))
		e = events.ringbuf_reserve(sizeof(*e));
	if (!e) {
		enf_lose(key->what.subject, ENF_LOST_UNJUDGED);
		return 0;
	}
	enf_fill(1, e, key, 0);
	return e;
}

static __always_inline void enf_end_birth(struct enf_event *e, u32 subject)
{
	enf_sent(subject, ENF_RING_EVENTS);
	events.ringbuf_submit(e, ENF_RING_WAKE);
}

/* The same for an attempt that something else refused, in the other ring: none of the cheap ways to tell repeats is open there. */
static __always_inline struct enf_event *enf_begin_attempt(u32 subject)
{
	struct enf_repeat_key key = {.what.subject = subject, .what.hook = ENF_HOOK_REFUSED, .generation = enf_generation()};
	struct enf_event *e = 0;

	if (!enf_barred(subject, ENF_RING_ATTEMPTS, ENF_ATTEMPTS_PAGES))
		e = attempts.ringbuf_reserve(sizeof(*e));
	if (!e) {
		enf_lose(subject, ENF_LOST_UNJUDGED);
		return 0;
	}
	enf_fill(1, e, &key, ENF_BY_MOUNT);
	return e;
}

static __always_inline void enf_end_attempt(struct enf_event *e, u32 subject)
{
	enf_sent(subject, ENF_RING_ATTEMPTS);
	attempts.ringbuf_submit(e, ENF_RING_WAKE);
}

#endif
