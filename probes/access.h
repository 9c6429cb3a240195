/*
 * What was allowed, counted by who, what and how: what a stricter policy is tried on, and a first one made from. Only while the
 * agent asks for it; else it costs one test, and only where a protected object or a flow has just been judged.
 */
#ifndef ENF_ACCESS_H
#define ENF_ACCESS_H

/* The agent's round of reading, or 0: nothing is noted. */
static __always_inline u32 enf_round(void)
{
	u32 slot = 0, *round = recording.lookup(&slot);

	return round ? *(volatile u32 *)round : 0;
}

static __always_inline void enf_note(struct enf_access_key *key)
{
	struct enf_access_value nothing = {.first_ns = bpf_ktime_get_boot_ns()}, *a = accesses.lookup_or_try_init(key, &nothing);

	if (!a) {
		enf_lose(key->subject, ENF_LOST_ACCESSES);
		return;
	}
	__sync_fetch_and_add(&a->count, 1);
	a->last_ns = nothing.first_ns;
}

#endif
