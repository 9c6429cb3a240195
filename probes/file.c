/* Opens of files, and open files that change hands, judged by the data object that the file lies in. */

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

#define ENF_SYS_OPEN_BY_HANDLE 304   /* arch/x86/entry/syscalls/syscall_64.tbl */
#define ENF_SYS32_OPEN_BY_HANDLE 342
#define ENF_X32_BIT 0x40000000       /* __X32_SYSCALL_BIT: the same numbers by another door */

/* Is the current system call open_by_handle_at? The mount that such a file comes through is any that its caller has. */
static __always_inline bool enf_by_handle(void)
{
	struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(bpf_get_current_task_btf());
	u32 nr = (u32)ENF_GET(1, regs, orig_ax) & ~ENF_X32_BIT;

	return nr == ENF_SYS_OPEN_BY_HANDLE || nr == ENF_SYS32_OPEN_BY_HANDLE;
}

/* A task opens a file. */
static __always_inline enum enf_verdict enf_judge_open(const struct enf_subject *s, struct file *file, void *unused, struct enf_how how)
{
	struct inode *inode = file->f_inode, *named = file->f_path.dentry->d_inode;
	u32 asked = enf_access_of(file->f_mode, file->f_flags), generation;
	struct enf_place p = {};

	if (inode == named)
		return enf_answer_file(1, s, &file->f_path, enf_by_handle(), asked, how);
	generation = enf_generation();
	enf_locate_beneath(inode, generation, &p);
	return enf_answer(0, s, &p, generation, asked, how);
}
ENF_SECURITY(enf_file_open, enf_judge_open, 0, 0)

/* A task is handed an open file: over a unix socket, or by pidfd_getfd. */
static __always_inline enum enf_verdict enf_judge_received(const struct enf_subject *s, struct file *file, void *unused, struct enf_how how)
{
	return enf_answer_file(1, s, &file->f_path, true, enf_access_of(file->f_mode, file->f_flags), how);
}
ENF_SECURITY(enf_file_receive, enf_judge_received, 0, 0)

/* A task connects or sends to a unix socket; one that is a file, such as docker.sock, is a data object. */
static __always_inline enum enf_verdict enf_judge_unix(const struct enf_subject *s, struct sock *there, void *unused, struct enf_how how)
{
	struct unix_sock *u = (struct unix_sock *)there;

	if (!u || !ENF_GET(0, u, path.dentry))
		return ENF_ALLOWED;          /* an abstract or unnamed socket: no file */
	return enf_answer_file(0, s, &u->path, true, ENF_CONNECT, how);
}
ENF_SECURITY(enf_unix_stream_connect, enf_judge_unix, 1, 1)

static __always_inline enum enf_verdict enf_judge_datagram(const struct enf_subject *s, struct socket *there, void *unused, struct enf_how how)
{
	return enf_judge_unix(s, ENF_GET(0, there, sk), 0, how);
}
ENF_SECURITY(enf_unix_may_send, enf_judge_datagram, 1, 1)

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
	e = enf_begin_attempt(s->id);
	if (!e)
		return;
	e->error = error;
	e->dirfd = dirfd;
	e->class_ = ENF_CLASS_DATA;
	e->asked = asked;
	n = of_user ? bpf_probe_read_user_str(e->path, ENF_PATH, path) : bpf_probe_read_kernel_str(e->path, ENF_PATH, path);
	e->path_len = n > 0 && n < ENF_PATH ? n : ENF_PATH_CUT | ENF_PATH;
	enf_end_attempt(e, s->id);
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
