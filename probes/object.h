/*
 * What is asked for? A file belongs to a data object if the root of its mount is one, or if a directory above it is one.
 * Inodes, never strings: every path to a file ends at the same inodes.
 */
#ifndef ENF_OBJECT_H
#define ENF_OBJECT_H

struct enf_place {               /* where a file was found */
	u32 object;              /* 0: in no protected object */
	u32 device;
	u64 inode;               /* of the file */
	struct dentry *dentry;   /* of the file */
	struct dentry *root;     /* of the object */
};

static __always_inline struct enf_object *enf_object_at(u32 generation, u32 device, u64 inode)
{
	struct enf_inode_key key = {.inode = inode, .device = device, .generation = generation};

	return objects.lookup(&key);
}

static __always_inline u64 enf_inode_of(const int direct, struct dentry *d)
{
	struct inode *i = ENF_GET(direct, d, d_inode);

	return i ? ENF_GET(direct, i, i_ino) : 0;
}

/* The nearest directory upwards that is an object, the file itself included. */
static __always_inline void enf_walk(const int direct, u32 generation, struct enf_place *p)
{
	struct dentry *d = p->dentry;

	for (int i = 0; i < ENF_MAX_DEPTH; i++) {
		struct enf_object *o = enf_object_at(generation, p->device, enf_inode_of(direct, d));
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

/*
 * by_handle: the file was opened without a path, so the mount that it was opened through says nothing about where it
 * lies, and the kernel may hold it without its directory at all.
 */
static __always_inline void enf_locate(const int direct, struct path *at, bool by_handle, u32 generation,
				       struct enf_place *p)
{
	struct vfsmount *mount = ENF_GET(direct, at, mnt);
	struct enf_device_key fs = {.generation = generation};
	struct super_block *sb;
	struct enf_object *o;

	p->object = 0;
	p->dentry = ENF_GET(direct, at, dentry);
	p->root = ENF_GET(direct, mount, mnt_root);
	sb = ENF_GET(direct, p->dentry, d_sb);
	p->device = ENF_GET(direct, sb, s_dev);
	o = enf_object_at(generation, p->device, enf_inode_of(direct, p->root));
	if (o && !o->has_inner && !by_handle) {
		p->object = o->id;
	} else {
		fs.device = p->device;
		if (!filesystems.lookup(&fs))
			return;
		if (by_handle && ENF_GET(direct, p->dentry, d_parent) == p->dentry && p->dentry != p->root)
			p->object = ENF_DETACHED;
		else
			enf_walk(direct, generation, p);
	}
}

/* Names from the file up to the object's root, leaf first, each with its NUL; returns the bytes used, ENF_PATH_CUT added. */
static __always_inline u16 enf_path_of(const int direct, const struct enf_place *p, char *out)
{
	struct dentry *d = p->dentry;
	u32 used = 0;

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
