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

static __always_inline void enf_file_record(const int direct, const struct enf_count_key *k, u32 generation, u8 mechanism,
					    u32 asked, struct enf_row row, const struct enf_place *p)
{
	struct enf_event *e = enf_begin(k->subject, generation, k->hook, mechanism);

	if (!e)
		return;
	e->object = p->object;
	e->verdict = k->verdict;
	e->class_ = ENF_CLASS_DATA;
	e->asked = asked;
	e->granted = row.granted;
	e->mode = row.mode;
	e->device = p->device;
	e->inode = enf_inode_of(direct, p->dentry);
	e->path_len = enf_path_of(direct, p, e->path);
	enf_end(e);
}

/* The one answer to every file hook. Returns the verdict; whatever is not allowed has been counted and recorded. */
static __always_inline enum enf_verdict enf_answer_file(const int direct, struct enf_subject *s, struct path *at,
							bool by_handle, u32 asked, u8 hook, u8 mechanism)
{
	u32 generation = enf_generation();
	struct enf_count_key count = {.subject = s->id, .class_ = ENF_CLASS_DATA, .hook = hook};
	struct enf_place p = {};
	struct enf_row row;

	if (!asked)
		return ENF_ALLOWED;          /* O_PATH: nothing can be read or written through it */
	enf_locate(direct, at, by_handle, generation, &p);
	if (!p.object)
		return ENF_ALLOWED;
	row = enf_row_of(generation, count.subject, p.object);
	count.verdict = enf_decide(row.granted, asked, row.mode);
	if (count.verdict == ENF_ALLOWED)
		return ENF_ALLOWED;
	if (count.verdict == ENF_DENIED && mechanism == ENF_BY_TRACEPOINT)
		count.verdict = ENF_KILLED;
	count.object = p.object;
	count.access = asked & ~row.granted;
	enf_count(&count);
	enf_file_record(direct, &count, generation, mechanism, asked, row, &p);
	return count.verdict;
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


/* A task connects to a unix socket; one that is a file, such as docker.sock, is a data object. */
static __always_inline enum enf_verdict enf_answer_unix(struct enf_subject *s, struct sock *listener, u8 mechanism)
{
	struct unix_sock *u = (struct unix_sock *)listener;

	if (!ENF_GET(0, u, path.dentry))
		return ENF_ALLOWED;          /* an abstract or unnamed socket: no file */
	return enf_answer_file(0, s, &u->path, false, ENF_CONNECT, ENF_HOOK_UNIX, mechanism);
}

LSM_PROBE(unix_stream_connect, struct sock *sock, struct sock *other, struct sock *made, int ret)
{
	struct enf_subject *s = enf_current_subject();

	if (ret || !s)
		return ret;
	return enf_answer_unix(s, other, ENF_BY_LSM) == ENF_DENIED ? -ENF_EPERM : 0;
}

KMOD_RET(security_unix_stream_connect, struct sock *sock, struct sock *other, struct sock *made, int ret)
{
	struct enf_subject *s = enf_current_subject();

	if (ret || !s)
		return ret;
	return enf_answer_unix(s, other, ENF_BY_FMOD_RET) == ENF_DENIED ? -ENF_EPERM : 0;
}

/*
 * Something else refused an open: a read-only mount (the guide mounts config volumes so) or the file's own mode. The attempt
 * is still one; only its path is known, so the agent judges it: nothing is decided here.
 */
static __always_inline void enf_refused(struct enf_subject *s, int dirfd, u32 flags, long error, const void *path, bool of_user)
{
	struct enf_event *e;
	u32 asked = enf_access_of((flags + 1) & 3, flags);
	long n;

	if (flags & ENF_O_CREAT)
		asked |= ENF_WRITE;          /* a file that is to be made is a write, whatever it is opened for */
	if (flags & ENF_O_PATH)
		return;
	e = enf_attempts_begin(s->id);
	if (!e)
		return;
	e->error = error;
	e->dirfd = dirfd;
	e->class_ = ENF_CLASS_DATA;
	e->asked = asked;
	n = of_user ? bpf_probe_read_user_str(e->path, ENF_PATH, path) : bpf_probe_read_kernel_str(e->path, ENF_PATH, path);
	e->path_len = n > 0 && n < ENF_PATH ? n : ENF_PATH_CUT | ENF_PATH;
	attempts.ringbuf_submit(e, ENF_RING_QUIET);
}

/* An open returns to whoever asked for it (open, openat, openat2, creat, exec, io_uring). */
KRETFUNC_PROBE(do_filp_open, int dirfd, struct filename *name, struct open_flags *how, struct file *file)
{
	struct enf_subject *s;
	long error = (long)file;
	u32 flags;

	if (error != -ENF_EROFS && error != -ENF_EACCES)
		return 0;
	s = enf_current_subject();
	if (!s)
		return 0;
	flags = ENF_GET(0, how, open_flag);
	enf_refused(s, dirfd, flags, error, ENF_GET(0, name, name), false);
	return 0;
}
