/* From where an attempt aims to its verdict: the row, the decision, the count, the record. Every hook on data ends here. */
#ifndef ENF_ANSWER_H
#define ENF_ANSWER_H

static __always_inline struct enf_row enf_row_of(u32 generation, u32 subject, u32 object)
{
	struct enf_row_key key = {.generation = generation, .subject = subject, .object = object};
	struct enf_row nothing = {.granted = 0, .mode = ENF_ENFORCE}, *row;

	if (object == ENF_JOURNAL)
		nothing.granted = ENF_READ | ENF_EXEC;
	if (object == ENF_OWN || object == ENF_JOURNAL)
		return nothing;      /* whatever the policy says and in whichever mode */
	row = rows.lookup(&key);
	if (!row) {
		key.object = 0;      /* the subject's default row */
		row = rows.lookup(&key);
	}
	return row ? *row : nothing;
}

/* What tells one file or name from another. The kernel's hash of a name depends on the directory, and not on the name alone. */
static __always_inline u64 enf_told_apart(const int direct, struct dentry *d)
{
	struct qstr name = ENF_GET(direct, d, d_name);
	struct inode *inode = ENF_GET(direct, d, d_inode);

	return (inode ? ENF_GET(direct, inode, i_ino) * 0x9e3779b97f4a7c15 : 0) ^ name.hash;
}

static __always_inline void enf_record(const int direct, const struct enf_count_key *k, u32 generation, u8 mechanism,
				       u32 asked, struct enf_row row, const struct enf_place *p)
{
	struct enf_repeat_key key = {.what = *k, .generation = generation, .asked = asked, .device = p->device};
	struct enf_event *e;
	struct inode *inode;

	if (p->dentry)
		key.detail = enf_told_apart(direct, p->dentry);
	e = enf_begin(1, &key, 0, mechanism);
	if (!e)
		return;              /* nothing stands between: the 6.1 verifier takes a second test of e for a first one */
	e->granted = row.granted;
	e->mode = row.mode;
	if (p->dentry) {
		inode = ENF_GET(direct, p->dentry, d_inode);
		if (inode)
			e->inode = ENF_GET(direct, inode, i_ino);
		e->path_len = enf_path_of(direct, p, e->path);
	}
	enf_end(e, &key);
}

/*
 * Which hook asks, and by which mechanism. A raw tracepoint's program says so itself; one program serves many security hooks by
 * both mechanisms, so there the agent says it when it attaches the program.
 */
struct enf_how {
	void *ctx;               /* the security program's, or 0 */
	u8 hook, mechanism;      /* a raw tracepoint's */
};

#define ENF_BY_COOKIE(context) ((struct enf_how){.ctx = (context)})
#define ENF_BY_TRACE(number) ((struct enf_how){.hook = (number), .mechanism = ENF_BY_TRACEPOINT})

static __always_inline void enf_learn_how(struct enf_how *how)
{
	u64 cookie;

	if (!how->ctx)
		return;
	cookie = bpf_get_attach_cookie(how->ctx);
	how->hook = cookie;
	how->mechanism = cookie >> 8;
}

/* An access to a data object that the policy grants; what is no data object nobody is granted, the journal aside. */
static __always_inline void enf_note_data(u32 subject, u32 object, u32 generation, u32 asked, struct enf_how how)
{
	struct enf_access_key key = {.round = enf_round(), .generation = generation, .subject = subject, .object = object,
				     .class_ = ENF_CLASS_DATA, .access = asked};

	if (!key.round || object < ENF_FIRST_ID)
		return;
	enf_learn_how(&how);
	key.hook = how.hook;
	key.mechanism = how.mechanism;
	enf_note(&key);
}

/* Returns the verdict; whatever is not allowed has been counted and recorded. */
static __always_inline enum enf_verdict enf_answer(const int direct, const struct enf_subject *s, const struct enf_place *p,
						   u32 generation, u32 asked, struct enf_how how)
{
	struct enf_count_key count = {.subject = s->id, .class_ = ENF_CLASS_DATA};
	struct enf_row row;

	if (!p->object)
		return ENF_ALLOWED;
	row = enf_row_of(generation, count.subject, p->object);
	count.verdict = enf_decide(row.granted, asked, row.mode);
	if (count.verdict == ENF_ALLOWED) {
		enf_note_data(s->id, p->object, generation, asked, how);
		return ENF_ALLOWED;
	}
	enf_learn_how(&how);
	if (count.verdict == ENF_DENIED && how.mechanism == ENF_BY_TRACEPOINT)
		count.verdict = ENF_KILLED;
	count.hook = how.hook;
	count.object = p->object;
	count.peer = p->peer;
	count.access = asked & ~row.granted;
	enf_count(&count);
	enf_record(direct, &count, generation, how.mechanism, asked, row, p);
	return count.verdict;
}

/* The answer for an open file, or for one that is about to be. */
static __always_inline enum enf_verdict enf_answer_file(const int direct, const struct enf_subject *s, struct path *at,
							bool by_handle, u32 asked, struct enf_how how)
{
	u32 generation = enf_generation();
	struct enf_place p = {};

	if (!asked)
		return ENF_ALLOWED;          /* O_PATH: nothing can be read or written through it */
	enf_locate(direct, at, by_handle, generation, &p);
	if (!p.object)
		enf_locate_special(direct, s, asked, generation, &p);
	return enf_answer(direct, s, &p, generation, asked, how);
}

/* The answer for a change to a name or to what it names. */
static __always_inline enum enf_verdict enf_answer_name(const struct enf_subject *s, struct dentry *d, struct enf_how how)
{
	u32 generation = enf_generation();
	struct enf_place p = {};

	enf_locate_name(1, d, generation, &p);
	if (!p.object)
		enf_locate_special(1, s, ENF_WRITE, generation, &p);
	return enf_answer(1, s, &p, generation, ENF_WRITE, how);
}

/* The answer for what is no file: nothing grants it, so the subject's default row says what becomes of it. */
static __always_inline enum enf_verdict enf_answer_special(const struct enf_subject *s, u32 object, u32 peer, u32 asked,
							   struct enf_how how)
{
	struct enf_place p = {.object = object, .peer = peer};

	return enf_answer(0, s, &p, enf_generation(), asked, how);
}

/*
 * A program for hooks of the kernel's security framework, whose arguments a and b `judge` is asked about. It is loaded once for
 * each hook: as an LSM program, and as one that modifies the return of security_*() where `bpf` is not in the kernel's list
 * of LSMs. An earlier program's no stands: the kernel asks nobody after it. A task in no container is none of ours.
 */
#define ENF_SECURITY(program, judge, a, b)                                                                       \
	int program(unsigned long long *ctx)                                                                     \
	{                                                                                                        \
		struct enf_subject *s = enf_current_subject();                                                   \
                                                                                                                 \
		if (!s)                                                                                          \
			return 0;                                                                                \
		return judge(s, (void *)ctx[a], (void *)ctx[b], ENF_BY_COOKIE(ctx)) == ENF_DENIED ? -ENF_EPERM : 0; \
	}

#endif
