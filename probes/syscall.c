/*
 * The mechanism for kernels that refuse LSM and fmod_ret programs: look at what a system call returned, before the task
 * is back in user space. The descriptor exists by then, so this detects and punishes; it does not prevent (FACTS: another
 * thread of the same process may have used it).
 */

enum enf_syscall { ENF_SYS_OTHER, ENF_SYS_OPEN, ENF_SYS_OPEN_HANDLE, ENF_SYS_CONNECT, ENF_SYS_SOCKET };

struct enf_call {
	enum enf_syscall what;
	int dirfd;
	unsigned long path;      /* user address */
	u32 flags;               /* open flags, where the registers hold them; of a socket: its family */
};

#define ENF_AT_FDCWD (-100)
#define ENF_SYS_CLONE3 435           /* the only call with CLONE_INTO_CGROUP; the same number for both ABIs */
#define ENF_SOCKETCALL_SOCKET 1      /* SYS_SOCKET, SYS_CONNECT of include/uapi/linux/net.h */
#define ENF_SOCKETCALL_CONNECT 3

/* The first three arguments, in the registers of either ABI. */
struct enf_arguments {
	unsigned long a, b, c;
};

static __always_inline void enf_open(struct enf_call *c, int dirfd, unsigned long path, u32 flags)
{
	c->what = ENF_SYS_OPEN;
	c->dirfd = dirfd;
	c->path = path;
	c->flags = flags;
}

static __always_inline void enf_open_handle(struct enf_call *c, u32 flags)
{
	c->what = ENF_SYS_OPEN_HANDLE;
	c->flags = flags;
}

static __always_inline void enf_connect(struct enf_call *c, int fd)
{
	c->what = ENF_SYS_CONNECT;
	c->dirfd = fd;
}

static __always_inline void enf_new_socket(struct enf_call *c, u32 family)
{
	c->what = ENF_SYS_SOCKET;
	c->flags = family;
}

static __always_inline u32 enf_user_u32(unsigned long at)
{
	u32 value = 0;

	bpf_probe_read_user(&value, sizeof(value), (void *)at);
	return value;
}

/* x86-64 system call numbers: arch/x86/entry/syscalls/syscall_64.tbl */
static __always_inline void enf_call_64(u32 nr, const struct enf_arguments *x, struct enf_call *c)
{
	if (nr == 2)                                  /* open(path, flags) */
		enf_open(c, ENF_AT_FDCWD, x->a, x->b);
	else if (nr == 85)                            /* creat(path) */
		enf_open(c, ENF_AT_FDCWD, x->a, ENF_CREAT_FLAGS);
	else if (nr == 257)                           /* openat(dirfd, path, flags) */
		enf_open(c, x->a, x->b, x->c);
	else if (nr == 437)                           /* openat2(dirfd, path, how): flags are how's first field */
		enf_open(c, x->a, x->b, enf_user_u32(x->c));
	else if (nr == 304)                           /* open_by_handle_at(mount_fd, handle, flags) */
		enf_open_handle(c, x->c);
	else if (nr == 42)                            /* connect(fd, address) */
		enf_connect(c, x->a);
	else if (nr == 41)                            /* socket(family) */
		enf_new_socket(c, x->a);
}

/* 32-bit numbers of the same calls: arch/x86/entry/syscalls/syscall_32.tbl */
static __always_inline void enf_call_32(u32 nr, const struct enf_arguments *x, struct enf_call *c)
{
	if (nr == 5)
		enf_open(c, ENF_AT_FDCWD, x->a, x->b);
	else if (nr == 8)
		enf_open(c, ENF_AT_FDCWD, x->a, ENF_CREAT_FLAGS);
	else if (nr == 295)
		enf_open(c, x->a, x->b, x->c);
	else if (nr == 437)
		enf_open(c, x->a, x->b, enf_user_u32(x->c));
	else if (nr == 342)
		enf_open_handle(c, x->c);
	else if (nr == 362)
		enf_connect(c, x->a);
	else if (nr == 102 && x->a == ENF_SOCKETCALL_CONNECT)  /* socketcall(call, arguments) */
		enf_connect(c, enf_user_u32(x->b));
	else if (nr == 359)
		enf_new_socket(c, x->a);
	else if (nr == 102 && x->a == ENF_SOCKETCALL_SOCKET)
		enf_new_socket(c, enf_user_u32(x->b));
}

static __always_inline void enf_call_of(struct task_struct *task, struct pt_regs *regs, u32 nr, struct enf_call *c)
{
	bool compat = ENF_GET(0, task, thread_info.status) & ENF_TS_COMPAT;
	struct enf_arguments x = {.c = ENF_GET(0, regs, dx)};

	x.a = compat ? ENF_GET(0, regs, bx) : ENF_GET(0, regs, di);
	x.b = compat ? ENF_GET(0, regs, cx) : ENF_GET(0, regs, si);
	if (compat)
		enf_call_32(nr, &x, c);
	else
		enf_call_64(nr, &x, c);
}

static __always_inline bool enf_may_concern(u32 nr)
{
	switch (nr) {
	case 2: case 5: case 8: case 41: case 42: case 85: case 102: case 257: case 295: case 304: case 342: case 359: case 362:
	case 437:
		return true;
	}
	return false;
}

static __always_inline struct file *enf_file_of(struct task_struct *task, u32 fd)
{
	struct files_struct *files = ENF_GET(0, task, files);
	struct fdtable *table = files ? ENF_GET(0, files, fdt) : 0;
	struct file **slots, *file = 0;

	if (!table || fd >= ENF_GET(0, table, max_fds))
		return 0;
	slots = ENF_GET(0, table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), slots + fd);
	return file;
}

/* The socket at the other end of a connected unix socket, or 0. */
static __always_inline struct sock *enf_unix_peer(struct file *file)
{
	struct path *at = &file->f_path;
	struct dentry *dentry = ENF_GET(0, at, dentry);
	struct inode *inode = ENF_GET(0, dentry, d_inode);
	struct socket *socket = ENF_GET(0, file, private_data);
	struct sock *sk;

	if ((ENF_GET(0, inode, i_mode) & ENF_S_IFMT) != ENF_S_IFSOCK)
		return 0;
	sk = ENF_GET(0, socket, sk);
	if (!sk || ENF_GET(0, sk, __sk_common.skc_family) != ENF_AF_UNIX)
		return 0;
	return ENF_GET(0, ((struct unix_sock *)sk), peer);
}

/* Does this program answer a hook, or has it a better mechanism on this kernel? */
static __always_inline bool enf_mine(u32 hook)
{
	struct enf_config *c = enf_live();

	return c && c->tracepoint_hooks & 1 << hook;
}

static __always_inline enum enf_verdict enf_judge_call(struct enf_subject *s, const struct enf_call *c, struct file *file)
{
	struct sock *peer;
	u32 asked;

	if (!enf_mine(c->what == ENF_SYS_CONNECT ? ENF_HOOK_UNIX : ENF_HOOK_OPEN))
		return ENF_ALLOWED;
	if (c->what == ENF_SYS_CONNECT) {
		peer = enf_unix_peer(file);
		return peer ? enf_judge_unix(s, peer, 0, ENF_BY_TRACE(ENF_HOOK_UNIX)) : ENF_ALLOWED;
	}
	asked = enf_access_of(ENF_GET(0, file, f_mode), ENF_GET(0, file, f_flags) | c->flags);
	return enf_answer_file(0, s, &file->f_path, c->what == ENF_SYS_OPEN_HANDLE, asked, ENF_BY_TRACE(ENF_HOOK_OPEN));
}

/* A child returns from its birth: one that was born outside its parent's container ends here. */
static __always_inline void enf_kill_stray(void)
{
	u32 pid = (u32)bpf_get_current_pid_tgid();

	if (!strays.lookup(&pid))
		return;
	strays.delete(&pid);
	bpf_send_signal(ENF_SIGKILL);
}

/* A system call returns to a task: if it opened a file or reached a unix socket, judge what it got. */
RAW_TRACEPOINT_PROBE(sys_exit)
{
	struct pt_regs *regs = (struct pt_regs *)ctx->args[0];
	long result = (long)ctx->args[1];
	u32 nr = (u32)ENF_GET(0, regs, orig_ax) & ~ENF_X32_BIT;  /* the kernel looks at the low half only, so must we */
	struct task_struct *task;
	struct enf_subject *s;
	struct enf_call c = {};
	struct file *file;

	/* every system call of the machine comes by here: most go at once */
	if (nr == ENF_SYS_CLONE3 && !result)
		enf_kill_stray();
	s = enf_may_concern(nr) ? enf_current_subject() : 0;
	if (!s)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	enf_call_of(task, regs, nr, &c);
	if (c.what == ENF_SYS_OTHER)
		return 0;
	if (result < 0) {
		if (c.path && enf_mine(ENF_HOOK_REFUSED) && (result == -ENF_EROFS || result == -ENF_EACCES))
			enf_refused(s, c.dirfd, c.flags, result, (void *)c.path, true);
		return 0;
	}
	if (c.what == ENF_SYS_SOCKET) {
		if (enf_mine(ENF_HOOK_SOCKET) && !enf_judged_elsewhere(c.flags) &&
		    enf_answer_socket(s, ENF_SOCKET_PACKET, 0, ENF_BY_TRACEPOINT) == ENF_KILLED)
			bpf_send_signal(ENF_SIGKILL);
		return 0;
	}
	file = enf_file_of(task, c.what == ENF_SYS_CONNECT ? c.dirfd : result);
	if (file && enf_judge_call(s, &c, file) == ENF_KILLED)
		bpf_send_signal(ENF_SIGKILL);
	return 0;
}
