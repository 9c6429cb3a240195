/* Ways to data that pass no file of it: another's process, the filesystem mounted anew, a cgroup that is not one's own. */

static __always_inline u64 enf_cgroup_of(struct task_struct *task)
{
	struct css_set *set = ENF_GET(0, task, cgroups);
	struct cgroup *cgroup = ENF_GET(0, set, dfl_cgrp);
	struct kernfs_node *node = ENF_GET(0, cgroup, kn);

	return ENF_GET(0, node, id);
}

/*
 * A task wants to stop, read or change another's process, or to take its descriptors. Looking at it (/proc/PID/status, its
 * root and its working directory) is not asked here: what lies behind those is judged when it is opened.
 */
static __always_inline enum enf_verdict enf_judge_trace(const struct enf_subject *s, struct task_struct *child, void *mode, struct enf_how how)
{
	u64 cgroup;
	struct enf_subject *other;

	if (!((u64)mode & ENF_PTRACE_ATTACH))
		return ENF_ALLOWED;
	cgroup = enf_cgroup_of(child);
	other = subjects.lookup(&cgroup);
	if (enf_same_container(s, other))
		return ENF_ALLOWED;
	return enf_answer_special(s, ENF_PROCESS, other ? other->id : ENF_HOST, ENF_TRACE, how);
}
ENF_SECURITY(enf_trace, enf_judge_trace, 0, 1)

/* A task mounts a filesystem: one that holds protected data is its superblock again. Bind mounts lead to the same inodes. */
static __always_inline enum enf_verdict enf_judge_mount(const struct enf_subject *s, struct super_block *sb, void *unused, struct enf_how how)
{
	if (!enf_holds_protected(enf_generation(), sb->s_dev))
		return ENF_ALLOWED;
	return enf_answer_special(s, ENF_DEVICE, 0, ENF_READ | ENF_WRITE, how);
}
ENF_SECURITY(enf_mount, enf_judge_mount, 0, 0)

/* A task has a child born in a cgroup that it has a descriptor of: no write to cgroup.procs tells where. */
static __always_inline enum enf_verdict enf_judge_clone(const struct enf_subject *s, void *flags, void *unused, struct enf_how how)
{
	if (!((u64)flags & ENF_INTO_CGROUP))
		return ENF_ALLOWED;
	return enf_answer_special(s, ENF_CGROUP, 0, ENF_WRITE, how);
}
ENF_SECURITY(enf_clone, enf_judge_clone, 1, 1)
