/* A container's life: its cgroup appears, its first program starts, its cgroup goes. */

/*
 * True if no byte is outside '0'..'f'. That tells an id from a systemd unit's name, which has a dot in it. Eight bytes at
 * a time and without a branch: a byte-wise test makes the verifier follow 2^64 paths.
 */
static __always_inline bool enf_looks_hex(const struct enf_docker_id *id)
{
	const u64 ones = 0x0101010101010101, tops = ones * 0x80, *word = (const u64 *)id->hex;
	u64 bad = 0;

	for (int i = 0; i < ENF_DOCKER_ID / 8; i++)
		bad |= word[i] | (word[i] + ones * (0x7f - 'f')) | ~(word[i] + ones * (0x80 - '0'));
	return !(bad & tops);
}

/* Reads the Docker id from a cgroup's name: 64 hex digits, or docker-<id>.scope under systemd. False if it is neither. */
static __always_inline bool enf_docker_id_of(const char *name, struct enf_docker_id *id)
{
	char text[ENF_DOCKER_ID + 16] = {};
	long n = bpf_probe_read_kernel_str(text, sizeof(text), name);
	const u32 scope = sizeof("docker-") - 1;

	if (n == ENF_DOCKER_ID + 1)
		bpf_probe_read_kernel(id, sizeof(*id), name);
	else if (n == scope + ENF_DOCKER_ID + sizeof(".scope") && text[0] == 'd' && text[6] == '-' &&
		 text[scope + ENF_DOCKER_ID] == '.')
		bpf_probe_read_kernel(id, sizeof(*id), name + scope);
	else
		return false;
	return enf_looks_hex(id);
}

static __always_inline void enf_enroll(u64 cgroup, struct enf_subject *born)
{
	u32 slot = cgroup & (ENF_SLOTS - 1);
	u64 one = 1;

	subject_slots.update(&slot, &one);
	if (subjects.update(&cgroup, born))
		enf_lose(born->id, ENF_LOST_SUBJECTS);
}

static __always_inline void enf_tell_birth(u64 cgroup, const struct enf_subject *born, const struct enf_docker_id *docker)
{
	struct enf_repeat_key key = {.what.subject = born->id, .what.hook = ENF_HOOK_BORN, .generation = enf_generation()};
	struct enf_event *e = enf_begin_birth(&key);

	if (!e)
		return;
	e->cgroup_id = cgroup;
	e->path_len = ENF_DOCKER_ID;
	__builtin_memcpy(e->path, docker->hex, ENF_DOCKER_ID);
	enf_end_birth(e, born->id);
}

/*
 * A cgroup is made. One under a subject's is that subject; one with a Docker id is the subject that the agent prepared at
 * Docker's create event, or unnamed. It stays pending: runc works in it before the container's first program runs.
 */
RAW_TRACEPOINT_PROBE(cgroup_mkdir)
{
	struct cgroup *cgroup = (struct cgroup *)ctx->args[0];
	struct cgroup_root *root = ENF_GET(0, cgroup, root);
	struct kernfs_node *node = ENF_GET(0, cgroup, kn), *above;
	struct enf_subject born = {.id = ENF_UNNAMED, .state = ENF_PENDING}, *parent;
	struct enf_docker_id docker __attribute__((aligned(8))) = {};
	u64 id = ENF_GET(0, node, id), above_id;
	u32 *prepared_id;

	if (ENF_GET(0, root, hierarchy_id))
		return 0;            /* a version 1 hierarchy: the kernel judges by the version 2 id */
	above = ENF_GET(0, node, parent);
	above_id = above ? ENF_GET(0, above, id) : 0;
	parent = subjects.lookup(&above_id);
	if (parent) {
		born = *parent;          /* the container's own cgroup included */
		enf_enroll(id, &born);
		return 0;
	}
	if (!enf_docker_id_of(ENF_GET(0, node, name), &docker))
		return 0;
	prepared_id = prepared.lookup(&docker);
	if (prepared_id)
		born.id = *prepared_id;
	born.container = id;
	enf_enroll(id, &born);
	enf_tell_birth(id, &born, &docker);
	return 0;
}

/* The agent may prepare a container until its first program starts, some 0.2 s after its cgroup has appeared. */
static __always_inline void enf_name(struct enf_subject *s)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct css_set *set = ENF_GET(0, task, cgroups);
	struct cgroup *cgroup = ENF_GET(0, set, dfl_cgrp);
	struct kernfs_node *node = ENF_GET(0, cgroup, kn);
	struct enf_docker_id docker __attribute__((aligned(8))) = {};
	u32 *prepared_id;

	if (!enf_docker_id_of(ENF_GET(0, node, name), &docker))
		return;
	prepared_id = prepared.lookup(&docker);
	if (prepared_id)
		s->id = *prepared_id;
}

/*
 * A program starts: if it is the first one outside the host's mount namespace, the container is governed from now on. That
 * program's own file was opened before, so it is judged here, as every program's is where no better mechanism sees its open.
 */
RAW_TRACEPOINT_PROBE(sched_process_exec)
{
	struct linux_binprm *program = (struct linux_binprm *)ctx->args[2];
	u64 cgroup = bpf_get_current_cgroup_id();
	struct enf_subject *s = subjects.lookup(&cgroup);
	struct file *file;

	if (!s)
		return 0;
	if (s->state == ENF_PENDING) {
		if (!enf_outside_host())
			return 0;
		if (s->id == ENF_UNNAMED)
			enf_name(s);
		s->state = ENF_ARMED;
	} else if (!enf_mine(ENF_HOOK_EXEC)) {
		return 0;
	}
	file = ENF_GET(0, program, file);
	if (enf_answer_file(0, s, &file->f_path, false, ENF_READ | ENF_EXEC, ENF_BY_TRACE(ENF_HOOK_EXEC)) == ENF_KILLED)
		bpf_send_signal(ENF_SIGKILL);
	return 0;
}

/* A task of a container moves a task to another cgroup, where it would be nobody's. Moving within its own is its affair. */
RAW_TRACEPOINT_PROBE(cgroup_attach_task)
{
	struct cgroup *to = (struct cgroup *)ctx->args[0];
	struct cgroup_root *root = ENF_GET(0, to, root);
	struct kernfs_node *node = ENF_GET(0, to, kn);
	u64 cgroup = ENF_GET(0, node, id);
	struct enf_subject *s = enf_current_subject();

	if (!s || ENF_GET(0, root, hierarchy_id) || enf_same_container(s, subjects.lookup(&cgroup)))
		return 0;
	if (enf_answer_special(s, ENF_CGROUP, 0, ENF_WRITE, ENF_BY_TRACE(ENF_HOOK_ESCAPE)) == ENF_KILLED)
		bpf_send_signal(ENF_SIGKILL);
	return 0;
}

/* A task has a child, which may be born in another cgroup (CLONE_INTO_CGROUP). */
RAW_TRACEPOINT_PROBE(task_newtask)
{
	struct task_struct *child = (struct task_struct *)ctx->args[0];
	struct enf_subject *s;
	u32 pid, one = 1;
	u64 cgroup;

	if (!(ctx->args[1] & ENF_INTO_CGROUP) || !enf_mine(ENF_HOOK_ESCAPE))
		return 0;
	s = enf_current_subject();
	cgroup = enf_cgroup_of(child);
	if (!s || enf_same_container(s, subjects.lookup(&cgroup)))
		return 0;
	if (enf_answer_special(s, ENF_CGROUP, 0, ENF_WRITE, ENF_BY_TRACE(ENF_HOOK_ESCAPE)) != ENF_KILLED)
		return 0;
	bpf_send_signal(ENF_SIGKILL);
	pid = ENF_GET(0, child, pid);
	strays.update(&pid, &one);   /* it has not run yet */
	return 0;
}

/* A task makes an io_uring: where opens are judged by what system calls return, its opens would be seen by nobody. */
RAW_TRACEPOINT_PROBE(io_uring_create)
{
	struct enf_subject *s = enf_current_subject();

	if (!s || !enf_mine(ENF_HOOK_IO_URING))
		return 0;
	if (enf_answer_special(s, ENF_IO_URING, 0, ENF_READ | ENF_WRITE, ENF_BY_TRACE(ENF_HOOK_IO_URING)) == ENF_KILLED)
		bpf_send_signal(ENF_SIGKILL);
	return 0;
}

/*
 * A cgroup goes. Sockets that were made in it may be held elsewhere: one that a container had made for itself is found by those
 * above it, the container's own is kept in mind.
 */
RAW_TRACEPOINT_PROBE(cgroup_rmdir)
{
	struct cgroup *cgroup = (struct cgroup *)ctx->args[0];
	struct cgroup_root *root = ENF_GET(0, cgroup, root);
	struct kernfs_node *node = ENF_GET(0, cgroup, kn);
	u64 id = ENF_GET(0, node, id);
	struct enf_subject *s, last;

	if (ENF_GET(0, root, hierarchy_id))
		return 0;            /* each hierarchy counts its ids anew: another one's may be a living container's */
	s = subjects.lookup(&id);
	if (s && s->container == id) {
		last = *s;
		gone.update(&id, &last);
	}
	subjects.delete(&id);
	return 0;
}
