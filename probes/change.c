/* Changes to names and to what they name: each is a write to the object that the name lies in. */

/* A task makes or removes a name, or changes what a name stands for. */
static __always_inline enum enf_verdict enf_judge_name(const struct enf_subject *s, struct dentry *d, void *unused,
						       struct enf_how how)
{
	u32 generation = enf_generation();
	struct enf_place p = enf_place_of_name(s, d, generation);

	return enf_answer(1, s, &p, generation, ENF_WRITE, how);
}
ENF_SECURITY(enf_change, enf_judge_name, 1, 1)  /* create, mkdir, mknod, symlink, unlink, rmdir, extended attributes, ACLs */
ENF_SECURITY(enf_attributes_lsm, enf_judge_name, ENF_LSM_inode_setattr_dentry, ENF_LSM_inode_setattr_dentry)
ENF_SECURITY(enf_attributes_fmod_ret, enf_judge_name, ENF_FMR_inode_setattr_dentry, ENF_FMR_inode_setattr_dentry)

/*
 * A task gives a file a second name or another one: both ends are written to. Where the first is not refused (monitor mode)
 * the second has still to be asked, unless it is in the same object: one attempt counts once for each object.
 */
static __always_inline enum enf_verdict enf_judge_names(const struct enf_subject *s, struct dentry *from, struct dentry *to,
							struct enf_how how)
{
	u32 generation = enf_generation();
	struct enf_place p = enf_place_of_name(s, from, generation);
	enum enf_verdict first = enf_answer(1, s, &p, generation, ENF_WRITE, how);
	u32 object = p.object;

	p = enf_place_of_name(s, to, generation);
	if (first == ENF_DENIED || p.object == object)
		return first;
	return enf_answer(1, s, &p, generation, ENF_WRITE, how);
}
ENF_SECURITY(enf_link, enf_judge_names, 0, 2)
ENF_SECURITY(enf_rename, enf_judge_names, 1, 3)
