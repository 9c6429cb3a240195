/*
 * What is asked for? A file belongs to a data object if the root of its mount is one, or if a directory above it is one.
 * Inodes, never strings: every path to a file ends at the same inodes.
 */
#ifndef ENF_OBJECT_H
#define ENF_OBJECT_H

struct enf_place {               /* where an attempt was found to aim */
	u32 object;              /* 0: at no protected object */
	u32 device;
	u32 peer;                /* ENF_PROCESS: whose it is */
	struct dentry *dentry;   /* of the file; 0 if it is no file */
	struct dentry *root;     /* of the object */
};

/*
 * The object whose root a dentry is, if it is one. A number that came back with another file is not it; a name that is about
 * to be made has no inode, and reads as number 0.
 */
static __always_inline struct enf_object *enf_object_at(const int direct, u32 generation, u32 device, struct dentry *d)
{
	struct inode *inode = ENF_GET(direct, d, d_inode);
	struct enf_inode_key key = {.device = device, .generation = generation};
	struct enf_object *o;

	key.inode = ENF_GET(direct, inode, i_ino);
	if (!enf_may_be_object(key.inode))
		return 0;
	o = objects.lookup(&key);
	if (!o || !o->version)
		return o;
	return o->version == ENF_GET(direct, inode, i_generation) ? o : 0;
}

static __always_inline bool enf_holds_protected(u32 generation, u32 device)
{
	struct enf_device_key key = {.generation = generation, .device = device};

	return filesystems.lookup(&key);
}

/* The nearest directory upwards that is an object, the file itself included. */
static __always_inline void enf_walk(const int direct, u32 generation, struct enf_place *p)
{
	struct dentry *d = p->dentry;

	ENF_ROLLED
	for (int i = 0; i < ENF_MAX_DEPTH; i++) {
		struct enf_object *o = enf_object_at(direct, generation, p->device, d);
		struct dentry *parent;

		if (o) {
			p->object = o->id;
			p->root = d;
			return;
		}
		parent = ENF_GET(direct, d, d_parent);
		if (parent == d)
			return;
		d = parent;
	}
	p->object = ENF_TOO_DEEP;
}

/* A name in a directory, by where it hangs in the tree: whoever has it looked up may have come by any mount. */
static __always_inline void enf_locate_name(const int direct, struct dentry *d, u32 generation, struct enf_place *p)
{
	struct super_block *sb = ENF_GET(direct, d, d_sb);

	p->dentry = d;
	p->device = ENF_GET(direct, sb, s_dev);
	if (enf_holds_protected(generation, p->device))
		enf_walk(direct, generation, p);
}

/*
 * by_handle: the file was opened without a path, so the mount that it was opened through says nothing about where it
 * lies, and the kernel may hold it without its directory at all.
 */
static __always_inline void enf_locate(const int direct, struct path *at, bool by_handle, u32 generation,
				       struct enf_place *p)
{
	struct vfsmount *mount = ENF_GET(direct, at, mnt);
	struct dentry *top = ENF_GET(direct, mount, mnt_root);
	struct super_block *sb;
	struct enf_object *o;

	p->dentry = ENF_GET(direct, at, dentry);
	sb = ENF_GET(direct, p->dentry, d_sb);
	p->device = ENF_GET(direct, sb, s_dev);
	o = enf_object_at(direct, generation, p->device, top);
	if (o && !o->has_inner && !by_handle) {
		p->object = o->id;
		p->root = top;
		return;
	}
	if (!enf_holds_protected(generation, p->device))
		return;
	if (by_handle && ENF_GET(direct, p->dentry, d_parent) == p->dentry && p->dentry != top)
		p->object = ENF_DETACHED;
	else
		enf_walk(direct, generation, p);
}

/*
 * The file beneath an overlay's: before 6.5 the kernel opens it under the overlay's path, so only its inode tells where
 * the data lies. One of its names is enough: all of a directory's files are looked for from the directory.
 */
static __always_inline void enf_locate_beneath(struct inode *inode, u32 generation, struct enf_place *p)
{
	struct super_block *sb = ENF_GET(0, inode, i_sb);
	void *name = ENF_GET(0, inode, i_dentry);

	p->device = ENF_GET(0, sb, s_dev);
	if (!enf_holds_protected(generation, p->device))
		return;
	p->dentry = name - ENF_AT_dentry_d_alias;
	if (name)
		enf_walk(0, generation, p);
	else
		p->object = ENF_DETACHED;
}

/* A block device is all that is on it. */
static __always_inline bool enf_is_protected_device(const int direct, struct inode *inode, u32 generation)
{
	return (ENF_GET(direct, inode, i_mode) & ENF_S_IFMT) == ENF_S_IFBLK &&
	       enf_holds_protected(generation, ENF_GET(direct, inode, i_rdev));
}

/* A name in cgroup2 whose directory is not a cgroup of this subject: writing there would move a task out, or others. */
static __always_inline bool enf_is_foreign_cgroup(const int direct, const struct enf_subject *s, struct dentry *d)
{
	struct super_block *sb = ENF_GET(direct, d, d_sb);
	struct dentry *directory = ENF_GET(direct, d, d_parent);
	struct inode *inode = ENF_GET(direct, directory, d_inode);
	u64 cgroup;

	if (ENF_GET(direct, sb, s_magic) != ENF_CGROUP2_MAGIC)
		return false;
	cgroup = ENF_GET(direct, inode, i_ino);
	return !enf_same_container(s, subjects.lookup(&cgroup));
}

/* What is no data object and yet leads to all of them: asked only where nothing else was found. */
static __always_inline void enf_locate_special(const int direct, const struct enf_subject *s, u32 asked, u32 generation,
					       struct enf_place *p)
{
	struct inode *inode = ENF_GET(direct, p->dentry, d_inode);

	if (inode && enf_is_protected_device(direct, inode, generation))
		p->object = ENF_DEVICE;
	else if (asked & ENF_WRITE && enf_is_foreign_cgroup(direct, s, p->dentry))
		p->object = ENF_CGROUP;
}

/* Names from the file up to the object's root, leaf first, each with its NUL; returns the bytes used, ENF_PATH_CUT added. */
static __always_inline u16 enf_path_of(const int direct, const struct enf_place *p, char *out)
{
	struct dentry *d = p->dentry;
	u32 used = 0;

	ENF_ROLLED
	for (int i = 0; i < 24; i++) {
		struct dentry *parent = ENF_GET(direct, d, d_parent);
		struct qstr name;
		long n;

		if (d == p->root || parent == d)
			return used;
		if (used > ENF_PATH - ENF_NAME)
			break;
		name = ENF_GET(direct, d, d_name);
		n = bpf_probe_read_kernel_str(out + used, ENF_NAME, name.name);
		if (n < 0)
			break;
		used += n & (2 * ENF_NAME - 1);
		d = parent;
	}
	return used | ENF_PATH_CUT;
}

#endif
