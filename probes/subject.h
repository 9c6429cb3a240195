/* Who is asking? A subject is a container: every cgroup under it, whatever namespaces its processes enter. */
#ifndef ENF_SUBJECT_H
#define ENF_SUBJECT_H

static __always_inline struct enf_config *enf_live(void)
{
	u32 slot = 0;

	return config.lookup(&slot);
}

static __always_inline u32 enf_generation(void)
{
	struct enf_config *c = enf_live();

	return c ? c->generation : 0;
}

struct enf_now {                 /* what is judged by just now */
	u32 generation, epoch;
};

/* The epoch is read before anything is looked up: what is judged by older rows is older. */
static __always_inline struct enf_now enf_now(void)
{
	struct enf_config *c = enf_live();
	struct enf_now now = {};

	if (c) {
		now.epoch = *(volatile u32 *)&c->epoch;
		now.generation = *(volatile u32 *)&c->generation;
	}
	return now;
}

/*
 * Most tasks of a machine are no subjects, and most directories no objects: an array, which costs a fifth of a hash map, tells so.
 * A slot is set before its key is there and never emptied: a slot in vain costs a look, a missing one would be a way out.
 */
static __always_inline bool enf_may_be_subject(u64 cgroup)
{
	u32 slot = cgroup & (ENF_SLOTS - 1);
	u64 *taken = subject_slots.lookup(&slot);

	return !taken || *taken;
}

static __always_inline bool enf_may_be_object(u64 inode)
{
	u32 slot = inode & (ENF_SLOTS - 1);
	u64 *taken = object_slots.lookup(&slot);

	return !taken || *taken;
}

/* The subject of the current task, or 0: a host process, or a container that is still being made by runc. */
static __always_inline struct enf_subject *enf_current_subject(void)
{
	u64 cgroup = bpf_get_current_cgroup_id();
	struct enf_subject *s = enf_may_be_subject(cgroup) ? subjects.lookup(&cgroup) : 0;

	if (s && s->state != ENF_ARMED)
		s = 0;
	asm volatile("" : "+r"(s));  /* callers must test s itself: the 6.1 verifier does not follow a test of its state */
	return s;
}

static __always_inline bool enf_same_container(const struct enf_subject *one, const struct enf_subject *other)
{
	return other && other->container == one->container;
}

/* True if the current task lives in another mount namespace than the host, so runc has finished its mounts. */
static __always_inline bool enf_outside_host(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct nsproxy *proxy = ENF_GET(0, task, nsproxy);
	struct mnt_namespace *mounts = proxy ? ENF_GET(0, proxy, mnt_ns) : 0;
	struct enf_config *c = enf_live();

	return mounts && c && ENF_GET(0, mounts, ns.inum) != c->host_mnt_ns;
}

#endif
