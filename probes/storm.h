/*
 * Storms: which of the violations become records of their own. All have been counted before, so nothing here makes a number
 * wrong: counted = what records stand for + what was suppressed or lost, for each subject.
 *
 *   repeat filter   the same once more within a window adds to the first one's entry; the agent makes one record of them when
 *                   the window is over
 *   budget          so many records in a window for one subject: no container fills the disk
 *   share           of records that nobody has read yet a subject has at most a quarter of what is free. One hog leaves four
 *                   fifths of the ring to the others, N hogs still 4 / (4 + N), while the agent stands still (Choudhury and
 *                   Hahne, Dynamic Queue Length Thresholds, 1998)
 */
#ifndef ENF_STORM_H
#define ENF_STORM_H

#define ENF_FREE_PART 4
#define ENF_RECORD (sizeof(struct enf_event) + 8)    /* with the ring's own header */
#define ENF_PAGE 4096
#define ENF_REPEATS 256          /* entries of one subject in a window: `repeats` has room for ten such, for three windows */

static __always_inline u32 enf_window(void)
{
	return bpf_ktime_get_boot_ns() >> ENF_WINDOW_BITS;
}

static __always_inline u32 enf_slot(u32 subject, u32 ring)
{
	u16 own = subject;

	if (subject && !own)
		own = ENF_UNNAMED;   /* the first one's is all of them together */
	return ring << 16 | own;
}

/* Its share of a ring; never 0, which the verifier cannot know. */
static __always_inline struct enf_share *enf_share_of(u32 subject, u32 ring)
{
	u32 slot = enf_slot(subject, ring);

	return shares.lookup(&slot);
}

/* Records that are in a ring and not read yet. The agent may be ahead of who has just put one there. */
static __always_inline s64 enf_unread(u32 subject, u32 ring)
{
	u32 slot = enf_slot(subject, ring);
	u64 *n = taken.lookup(&slot);
	struct enf_share *s = shares.lookup(&slot);

	return n && s ? s->sent - *n : 0;
}

/*
 * Why the subject may not have another record, or 0. Two that ask at the same time may both be told yes. The canary's records are
 * looked for, however small the budget is.
 */
static __always_inline u32 enf_barred(u32 subject, u32 ring, u32 pages)
{
	struct enf_share *share = enf_share_of(subject, ring);
	struct enf_config *c = enf_live();
	s64 room = pages * ENF_PAGE / ENF_RECORD;

	if (c && c->budget && subject != ENF_CANARY && share && share->used >= c->budget && share->window == enf_window())
		return ENF_SUPPRESSED_BUDGET;
	if (enf_unread(subject, ring) * ENF_FREE_PART >= room - enf_unread(ENF_NOBODY, ring))
		return ENF_SUPPRESSED_SHARE;
	return 0;
}

/* A record is in the ring. */
static __always_inline void enf_sent(u32 subject, u32 ring)
{
	struct enf_share *own = enf_share_of(subject, ring), *all = enf_share_of(ENF_NOBODY, ring);
	u32 window = enf_window();

	if (!own || !all)
		return;
	if (own->window != window) {
		own->used = 0;
		own->window = window;
	}
	__sync_fetch_and_add(&own->used, 1);
	__sync_fetch_and_add(&own->sent, 1);
	__sync_fetch_and_add(&all->sent, 1);
}

/* A hash of names may be aimed at: what is taken for the same name is the same name. */
static __always_inline bool enf_same_name(const char *one, const char *other)
{
	const u64 *a = (const u64 *)one, *b = (const u64 *)other;
	u64 differ = 0;

	for (int i = 0; i < ENF_DNS_NAME / 8; i++)
		differ |= a[i] ^ b[i];
	return !differ;
}

/* Has the same been recorded in this window? Then it is counted there. `name`: see above, or 0. */
static __always_inline bool enf_repeated(struct enf_repeat_key *key, const char *name)
{
	struct enf_repeat *r = repeats.lookup(key);

	if (!r || (name && !enf_same_name(r->first.path, name)))
		return false;
	__sync_fetch_and_add(&r->more, 1);
	return true;
}

/* The next one like it is a repeat. Where the map is full each is a record, as far as the budget goes. */
static __always_inline void enf_expect_more(struct enf_repeat_key *key, struct enf_event *first)
{
	u32 slot = 0;
	struct enf_repeat *r = blank.lookup(&slot);
	struct enf_share *share = enf_share_of(key->what.subject, ENF_RING_EVENTS);

	if (!r || !share || (share->used >= ENF_REPEATS && share->window == key->window) || repeats.insert(key, r))
		return;              /* another CPU was first, and both are records; or there is no room */
	r = repeats.lookup(key);
	if (r)
		bpf_probe_read_kernel(&r->first, sizeof(r->first), first);
}

#endif
