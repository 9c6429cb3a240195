/* Changes to names and to what they name: each is a write to the object that the name lies in. */

/* A task makes or removes a name, or changes what a name stands for. */
static __always_inline enum enf_verdict enf_judge_name(const struct enf_subject *s, struct dentry *d, void *unused,
						       struct enf_how how)
{
	return enf_answer_name(s, d, how);
}
ENF_SECURITY(enf_change, enf_judge_name, 1, 1)  /* create, mkdir, mknod, symlink, unlink, rmdir, extended attributes, ACLs */
ENF_SECURITY(enf_attributes_lsm, enf_judge_name, ENF_LSM_inode_setattr_dentry, ENF_LSM_inode_setattr_dentry)
ENF_SECURITY(enf_attributes_fmod_ret, enf_judge_name, ENF_FMR_inode_setattr_dentry, ENF_FMR_inode_setattr_dentry)

#define ENF_SETFLAGS 0x6602          /* 'f', 2: chattr; 32-bit programs use another size */
#define ENF_FSSETXATTR 0x5820        /* 'X', 32: flags, project */
#define ENF_SETVERSION 0x7602        /* 'v', 2: the inode's i_generation, which tells it from a later one */

/* A task changes a file's flags by ioctl, for which a descriptor that may only read is enough. include/uapi/linux/fs.h */
static __always_inline enum enf_verdict enf_judge_ioctl(const struct enf_subject *s, struct file *file, void *cmd,
							struct enf_how how)
{
	u16 call = (u64)cmd;

	if (call != ENF_SETFLAGS && call != ENF_FSSETXATTR && call != ENF_SETVERSION)
		return ENF_ALLOWED;
	return enf_judge_name(s, file->f_path.dentry, 0, how);
}
ENF_SECURITY(enf_ioctl, enf_judge_ioctl, 0, 1)

/*
 * A task gives a file a second name or another one: both ends are written to. Where the first is not refused (monitor mode)
 * the second has still to be asked, and counts too. (Telling first whether both are in one object is more than the 6.1
 * verifier follows: it multiplies the two walks.)
 */
static __always_inline enum enf_verdict enf_judge_names(const struct enf_subject *s, struct dentry *from, struct dentry *to,
							struct enf_how how)
{
	enum enf_verdict first = enf_answer_name(s, from, how);

	return first == ENF_DENIED ? first : enf_answer_name(s, to, how);
}
ENF_SECURITY(enf_link, enf_judge_names, 0, 2)
ENF_SECURITY(enf_rename, enf_judge_names, 1, 3)
