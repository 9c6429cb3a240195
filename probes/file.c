/* Opens of files, judged by the data object that the file lies in. */

static __always_inline struct enf_row enf_row_of(u32 generation, u32 subject, u32 object)
{
	struct enf_row_key key = {.generation = generation, .subject = subject, .object = object};
	struct enf_row nothing = {.granted = 0, .mode = ENF_ENFORCE}, *row = rows.lookup(&key);

	if (!row) {
		key.object = 0;      /* the subject's default row */
		row = rows.lookup(&key);
	}
	return row ? *row : nothing;
}

/* The one answer to every file hook. Returns the verdict; whatever is not allowed has been counted and recorded. */
static __always_inline enum enf_verdict enf_answer_file(const int direct, struct enf_subject *s, struct path *at,
							bool by_handle, u32 asked, u8 hook, u8 mechanism)
{
	u32 generation = enf_generation();
	struct enf_place p = {};
	struct enf_count_key count = {.subject = s->id, .class_ = ENF_CLASS_DATA, .hook = hook};
	enum enf_verdict verdict;
	struct enf_event *e;
	struct enf_row row;

	if (!asked)
		return ENF_ALLOWED;
	enf_locate(direct, at, by_handle, generation, &p);
	if (!p.object)
		return ENF_ALLOWED;
	row = enf_row_of(generation, count.subject, p.object);
	verdict = enf_decide(row.granted, asked, row.mode);
	if (verdict == ENF_ALLOWED)
		return verdict;
	if (verdict == ENF_DENIED && mechanism == ENF_BY_TRACEPOINT)
		verdict = ENF_KILLED;

	count.object = p.object;
	count.access = asked & ~row.granted;
	count.verdict = verdict;
	enf_count(&count);
	e = enf_begin(count.subject, generation, hook, mechanism);
	if (e) {
		e->object = p.object;
		e->verdict = verdict;
		e->class_ = ENF_CLASS_DATA;
		e->asked = asked;
		e->granted = row.granted;
		e->mode = row.mode;
		e->device = p.device;
		e->inode = enf_inode_of(direct, p.dentry);
		e->path_len = enf_path_of(direct, &p, e->path);
		enf_end(e);
	}
	return verdict;
}

static __always_inline u32 enf_access_of(u32 f_mode, u32 f_flags)
{
	u32 asked = 0;

	if (f_mode & ENF_FMODE_PATH)
		return 0;
	if (f_mode & ENF_FMODE_READ)
		asked |= ENF_READ;
	if (f_mode & ENF_FMODE_WRITE || f_flags & ENF_O_TRUNC)
		asked |= ENF_WRITE;
	if (f_flags & ENF_FMODE_EXEC)
		asked |= ENF_EXEC;
	return asked;
}

/* A task opens a file. */
LSM_PROBE(file_open, struct file *file, int ret)
{
	struct enf_subject *s = enf_current_subject();

	if (ret || !s)
		return ret;          /* another program refused already, or the task is not in a container */
	if (enf_answer_file(1, s, &file->f_path, false, enf_access_of(file->f_mode, file->f_flags), ENF_HOOK_OPEN,
			    ENF_BY_LSM) == ENF_DENIED)
		return -ENF_EPERM;
	return 0;
}

/* The same where `bpf` is not in the kernel's list of LSMs. */
KMOD_RET(security_file_open, struct file *file, int ret)
{
	struct enf_subject *s = enf_current_subject();

	if (ret || !s)
		return ret;
	if (enf_answer_file(1, s, &file->f_path, false, enf_access_of(file->f_mode, file->f_flags), ENF_HOOK_OPEN,
			    ENF_BY_FMOD_RET) == ENF_DENIED)
		return -ENF_EPERM;
	return 0;
}

