/* The agent's own maps, programs and links: no subject gets hold of them, a privileged one included. */

static __always_inline bool enf_is_guarded(u32 kind, u32 id)
{
	struct enf_guard_key key = {.kind = kind, .id = id};

	return guarded.lookup(&key);
}

/* A task gets a descriptor of a map or a program: by its pin or by its number. */
static __always_inline enum enf_verdict enf_judge_map(const struct enf_subject *s, struct bpf_map *map, void *unused, struct enf_how how)
{
	if (!enf_is_guarded(ENF_GUARD_MAP, map->id))
		return ENF_ALLOWED;
	return enf_answer_special(s, ENF_OWN, 0, ENF_READ | ENF_WRITE, how);
}
ENF_SECURITY(enf_bpf_map, enf_judge_map, 0, 0)

static __always_inline enum enf_verdict enf_judge_program(const struct enf_subject *s, struct bpf_prog *prog, void *unused, struct enf_how how)
{
	if (!enf_is_guarded(ENF_GUARD_PROGRAM, prog->aux->id))
		return ENF_ALLOWED;
	return enf_answer_special(s, ENF_OWN, 0, ENF_READ | ENF_WRITE, how);
}
ENF_SECURITY(enf_bpf_prog, enf_judge_program, 0, 0)

#define ENF_LINK_UPDATE 29           /* enum bpf_cmd of include/uapi/linux/bpf.h */
#define ENF_LINK_GET_FD_BY_ID 30
#define ENF_LINK_DETACH 34

/*
 * Is this descriptor a link of ours? Where other threads share the table one could be put in its place before the kernel
 * looks at it, so there it is taken for one.
 */
static __always_inline bool enf_may_be_our_link(u32 fd)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct files_struct *files = ENF_GET(0, task, files);
	struct file *file = enf_file_of(task, fd);
	struct bpf_link *link = file ? ENF_GET(0, file, private_data) : 0;

	return (link && enf_is_guarded(ENF_GUARD_LINK, ENF_GET(0, link, id))) || ENF_GET(0, files, count) > 1;
}

/*
 * A task calls bpf(2). The kernel has no hook of its own for links: what names one is the first field of the attributes,
 * which it has copied already. A link that came by its pin can be used only to detach or to replace.
 */
static __always_inline enum enf_verdict enf_judge_bpf(const struct enf_subject *s, void *cmd, void *attributes, struct enf_how how)
{
	u32 call = (u32)(u64)cmd, first = 0;
	bool ours = false;

	if (call != ENF_LINK_GET_FD_BY_ID && call != ENF_LINK_DETACH && call != ENF_LINK_UPDATE)
		return ENF_ALLOWED;
	bpf_probe_read_kernel(&first, sizeof(first), attributes);
	ours = call == ENF_LINK_GET_FD_BY_ID ? enf_is_guarded(ENF_GUARD_LINK, first) : enf_may_be_our_link(first);
	return ours ? enf_answer_special(s, ENF_OWN, 0, ENF_WRITE, how) : ENF_ALLOWED;
}
ENF_SECURITY(enf_bpf, enf_judge_bpf, 0, 1)
