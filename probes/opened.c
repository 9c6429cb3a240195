/*
 * What containers have open already: files that were opened before a container was governed, or under a policy that granted
 * more. The agent reads these iterators as files; what a container may not have is written there, one record each. The
 * kernel's own structures say where a file lies, so nothing is opened, followed or waited for: neither a removed file, a pipe,
 * a filesystem that hangs nor a name hides anything. What only the kernel holds (in flight over a socket, registered with an
 * io_uring) is not seen. Nothing is counted here: the agent tells what it has not told before.
 */

#define ENF_VM_EXEC 0x4

static __always_inline void enf_describe_task(struct enf_opened *o, struct task_struct *task)
{
	struct cred *cred = ENF_GET(0, task, cred);

	o->began = ENF_GET(0, task, start_boottime);
	o->event.pid = ENF_GET(0, task, tgid);
	o->event.tid = ENF_GET(0, task, pid);
	o->event.uid = ENF_GET(0, cred, uid);
	bpf_probe_read_kernel(o->event.comm, sizeof(o->event.comm), &task->comm);
}

static __always_inline void enf_describe_file(struct enf_opened *o, const struct enf_place *p)
{
	struct inode *inode = ENF_GET(0, p->dentry, d_inode);

	o->event.object = p->object;
	o->event.device = p->device;
	o->event.inode = ENF_GET(0, inode, i_ino);
	o->version = ENF_GET(0, inode, i_generation);
	o->event.path_len = enf_path_of(0, p, o->event.path);
}

/*
 * Where an open file lies: by the directories above it, whatever mount it came by. Before 6.5 a mapping of an overlay's file
 * has the overlay's path and the inode beneath it, which tells where the data is. A socket's file is given by its path alone.
 */
static __always_inline void enf_locate_opened(struct path *at, struct inode *inode, u32 generation, struct enf_place *p)
{
	struct dentry *named = ENF_GET(0, at, dentry), *alias;
	struct vfsmount *mount = ENF_GET(0, at, mnt);
	struct super_block *sb;

	if (!named)
		return;              /* a socket that is no file */
	p->dentry = named;
	alias = inode ? ENF_GET(0, inode, i_dentry) : 0;
	if (alias && inode != ENF_GET(0, named, d_inode))
		p->dentry = (void *)alias - ENF_AT_dentry_d_alias;
	sb = ENF_GET(0, p->dentry, d_sb);
	p->device = ENF_GET(0, sb, s_dev);
	if (!enf_holds_protected(generation, p->device))
		return;
	if (ENF_GET(0, p->dentry, d_parent) == p->dentry && p->dentry != ENF_GET(0, mount, mnt_root))
		p->object = ENF_DETACHED;
	else
		enf_walk(0, generation, p);
}

/* What a container may have by its row is not told of. What was asked for stands in the record: the verifier forgets it there. */
static __always_inline bool enf_grants(const struct enf_opened *o, const struct enf_subject *s, u32 object, u32 generation)
{
	struct enf_row row = enf_row_of(generation, s->id, object);

	return enf_decide(row.granted, o->event.asked, row.mode) == ENF_ALLOWED;
}

/* What a task asked for when it opened a file, or reached a socket that is one; O_TRUNC has been done with. */
static __always_inline u32 enf_asked_of(struct file *file, struct sock *peer, bool executable)
{
	u32 asked = enf_access_of(ENF_GET(0, file, f_mode), ENF_GET(0, file, f_flags) & ~ENF_O_TRUNC);

	if (peer)
		return ENF_CONNECT;
	return asked && executable ? asked | ENF_EXEC : asked;
}

/*
 * Write the record for the reader. A container with ever so many descriptors takes no place from the others: past a number they
 * are only counted. A record that finds the reader's page full is asked for again.
 */
static __always_inline void enf_tell(struct bpf_iter_meta *meta, struct enf_opened *o, struct task_struct *task,
				     const struct enf_place *p)
{
	u32 subject = o->event.subject;
	u64 zero = 0, *n = told.lookup_or_try_init(&subject, &zero);

	if (!n)
		return;
	if (*n < ENF_MAX_OPENED) {
		enf_describe_task(o, task);
		enf_describe_file(o, p);
		if (bpf_seq_write(meta->seq, o, sizeof(*o)))
			return;
	}
	++*n;
}

/* Killed for it, and not gone yet: that has been told. */
static __always_inline bool enf_is_dying(struct task_struct *task)
{
	return ENF_GET(0, task, pending.signal) & 1 << (ENF_SIGKILL - 1);
}

/* A file that a task holds, by a descriptor or by a mapping (`executable`: as code). */
static __always_inline void enf_look_at(struct bpf_iter_meta *meta, struct task_struct *task, struct file *file, bool executable)
{
	u64 cgroup = enf_cgroup_of(task);
	struct enf_subject *s = subjects.lookup(&cgroup);
	u32 generation = enf_generation(), slot = 0;
	struct enf_opened *o = opened.lookup(&slot);
	struct enf_place p = {};
	struct sock *peer;

	if (!o || !s || s->state != ENF_ARMED || s->id == ENF_CANARY || enf_is_dying(task))
		return;
	peer = enf_unix_peer(file);
	__builtin_memset(o, 0, __builtin_offsetof(struct enf_opened, event.path));
	o->event.asked = enf_asked_of(file, peer, executable);
	if (!o->event.asked)
		return;                      /* O_PATH: nothing can be read or written through it */
	enf_locate_opened(peer ? &((struct unix_sock *)peer)->path : &file->f_path, peer ? 0 : ENF_GET(0, file, f_inode), generation, &p);
	if (!p.object && p.dentry)
		enf_locate_special(0, s, o->event.asked, generation, &p);
	if (!p.object || enf_grants(o, s, p.object, generation))
		return;
	o->event.cgroup_id = cgroup;
	o->event.subject = s->id;
	o->event.generation = generation;
	enf_tell(meta, o, task, &p);
}

/* For each descriptor of each task on the host, threads that share their process's left out. */
int enf_opened_files(unsigned long long *ctx)
{
	struct bpf_iter_meta *meta = (void *)ctx[0];
	struct task_struct *task = (void *)ctx[1];
	struct file *file = (void *)ctx[3];

	if (task && file)
		enf_look_at(meta, task, file, false);
	return 0;
}

/* For each mapping of each process: the file stays reachable when its descriptor is closed. */
int enf_mapped_files(unsigned long long *ctx)
{
	struct bpf_iter_meta *meta = (void *)ctx[0];
	struct task_struct *task = (void *)ctx[1];
	struct vm_area_struct *area = (void *)ctx[2];
	struct file *file = task && area ? ENF_GET(0, area, vm_file) : 0;

	if (file)
		enf_look_at(meta, task, file, ENF_GET(0, area, vm_flags) & ENF_VM_EXEC);
	return 0;
}
