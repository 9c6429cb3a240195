/*
 * The kernel structures that we read: only the fields that we use, at the offsets of the running kernel.
 *
 * ENF_FIELD(struct, type, name) places a field at ENF_AT_struct_name. enforcer/edges/bpf/offsets.py finds every ENF_FIELD
 * here, looks it up in /sys/kernel/btf/vmlinux and defines those macros; a field that the kernel lacks is a HostError
 * that names it. ENF_RENAMED adds the name that later kernels use. Not packed: packed structs make LLVM load byte by
 * byte, which the verifier refuses for kernel pointers.
 */
#ifndef ENF_KERNEL_H
#define ENF_KERNEL_H

#define ENF_FIELD(s, type, name) struct { char pad_##name[ENF_AT_##s##_##name]; type name; }
#define ENF_RENAMED(s, type, name, later) ENF_FIELD(s, type, name)

struct ns_common { union { ENF_FIELD(ns_common, unsigned int, inum); }; };
struct mnt_namespace { union { ENF_FIELD(mnt_namespace, struct ns_common, ns); }; };
struct nsproxy { union { ENF_FIELD(nsproxy, struct mnt_namespace *, mnt_ns); }; };

struct qstr { union { ENF_FIELD(qstr, const unsigned char *, name); ENF_FIELD(qstr, u32, hash); }; };
struct super_block { union { ENF_FIELD(super_block, u32, s_dev); ENF_FIELD(super_block, unsigned long, s_magic); }; };
struct hlist_node;
struct inode {
	union {
		ENF_FIELD(inode, unsigned long, i_ino);
		ENF_FIELD(inode, unsigned short, i_mode);
		ENF_FIELD(inode, u32, i_rdev);
		ENF_FIELD(inode, u32, i_generation);
		ENF_FIELD(inode, struct super_block *, i_sb);
		ENF_FIELD(inode, struct hlist_node *, i_dentry);     /* the first of its names: a dentry's d_alias */
	};
};
struct dentry {
	union {
		ENF_FIELD(dentry, struct dentry *, d_parent);
		ENF_FIELD(dentry, struct qstr, d_name);
		ENF_FIELD(dentry, struct inode *, d_inode);
		ENF_FIELD(dentry, struct super_block *, d_sb);
		ENF_FIELD(dentry, struct hlist_node *, d_alias);
	};
};
struct vfsmount { union { ENF_FIELD(vfsmount, struct dentry *, mnt_root); }; };
struct path { union { ENF_FIELD(path, struct vfsmount *, mnt); ENF_FIELD(path, struct dentry *, dentry); }; };
struct file {
	union {
		ENF_FIELD(file, struct path, f_path);
		ENF_FIELD(file, struct inode *, f_inode);
		ENF_FIELD(file, unsigned int, f_mode);
		ENF_FIELD(file, unsigned int, f_flags);
		ENF_FIELD(file, void *, private_data);
	};
};

struct filename { union { ENF_FIELD(filename, const char *, name); }; };
struct open_flags { union { ENF_FIELD(open_flags, int, open_flag); }; };
struct fdtable { union { ENF_FIELD(fdtable, unsigned int, max_fds); ENF_FIELD(fdtable, struct file **, fd); }; };
struct files_struct {
	union { ENF_FIELD(files_struct, struct fdtable *, fdt); ENF_FIELD(files_struct, int, count); };
};
struct thread_info { union { ENF_FIELD(thread_info, u32, status); }; };
struct sigpending { union { ENF_FIELD(sigpending, u64, signal); }; };
struct css_set;
struct cred;
struct task_struct {
	union {
		ENF_FIELD(task_struct, struct thread_info, thread_info);
		ENF_FIELD(task_struct, int, pid);
		ENF_FIELD(task_struct, struct files_struct *, files);
		ENF_FIELD(task_struct, struct nsproxy *, nsproxy);
		ENF_FIELD(task_struct, struct css_set *, cgroups);
		ENF_FIELD(task_struct, int, tgid);
		ENF_FIELD(task_struct, struct sigpending, pending);
		ENF_FIELD(task_struct, char, comm);
		ENF_FIELD(task_struct, u64, start_boottime);
		ENF_FIELD(task_struct, struct cred *, cred);
	};
};

struct sock_common {
	union { ENF_FIELD(sock_common, unsigned short, skc_family); ENF_FIELD(sock_common, u64, skc_cookie); };
};
struct sock { union { ENF_FIELD(sock, struct sock_common, __sk_common); }; };
struct unix_sock { union { ENF_FIELD(unix_sock, struct path, path); ENF_FIELD(unix_sock, struct sock *, peer); }; };
struct socket { union { ENF_FIELD(socket, struct sock *, sk); }; };

struct kernfs_node {
	union {
		ENF_RENAMED(kernfs_node, struct kernfs_node *, parent, __parent);
		ENF_FIELD(kernfs_node, const char *, name);
		ENF_FIELD(kernfs_node, u64, id);
	};
};
struct cgroup_root { union { ENF_FIELD(cgroup_root, int, hierarchy_id); }; };
struct cgroup {
	union { ENF_FIELD(cgroup, struct kernfs_node *, kn); ENF_FIELD(cgroup, struct cgroup_root *, root); };
};

/* linux_binprm is what an exec is about; bpf_map, bpf_prog and bpf_link are what guard.c closes. */
struct linux_binprm { union { ENF_FIELD(linux_binprm, struct file *, file); }; };
struct bpf_map { union { ENF_FIELD(bpf_map, u32, id); }; };
struct bpf_prog_aux { union { ENF_FIELD(bpf_prog_aux, u32, id); }; };
struct bpf_prog { union { ENF_FIELD(bpf_prog, struct bpf_prog_aux *, aux); }; };
struct bpf_link { union { ENF_FIELD(bpf_link, u32, id); }; };

/* What an iterator is handed: its reader, and a process's mappings. */
struct cred { union { ENF_FIELD(cred, u32, uid); }; };
struct seq_file;
struct bpf_iter_meta { union { ENF_FIELD(bpf_iter_meta, struct seq_file *, seq); }; };
struct vm_area_struct {
	union { ENF_FIELD(vm_area_struct, struct file *, vm_file); ENF_FIELD(vm_area_struct, unsigned long, vm_flags); };
};

struct css_set { union { ENF_FIELD(css_set, struct cgroup *, dfl_cgrp); }; };

struct pt_regs {
	union {
		ENF_FIELD(pt_regs, unsigned long, bx);
		ENF_FIELD(pt_regs, unsigned long, cx);
		ENF_FIELD(pt_regs, unsigned long, dx);
		ENF_FIELD(pt_regs, unsigned long, si);
		ENF_FIELD(pt_regs, unsigned long, di);
		ENF_FIELD(pt_regs, unsigned long, orig_ax);
	};
};

/*
 * LSM and fmod_ret programs follow kernel pointers directly (one instruction, checked by the verifier against BTF); a raw
 * tracepoint has to copy. `direct` is a constant in every caller, so one source gives both and no branch remains.
 */
#define ENF_GET(direct, ptr, field)                                                    \
	({                                                                             \
		typeof((ptr)->field) value_;                                           \
		if (direct)                                                            \
			value_ = (ptr)->field;                                         \
		else                                                                   \
			bpf_probe_read_kernel(&value_, sizeof(value_), &(ptr)->field); \
		value_;                                                                \
	})

/*
 * Where an argument of a security hook stands, if that differs between kernels or mechanisms: ENF_LSM_hook_argument for
 * bpf_lsm_hook, ENF_FMR_hook_argument for security_hook.
 */
#define ENF_CALL(hook, argument)
ENF_CALL(inode_setattr, dentry)

#define ENF_ROLLED _Pragma("clang loop unroll(disable)")  /* a loop unrolled in fifty programs is a second of compiling */

#define ENF_FMODE_READ 0x1
#define ENF_FMODE_WRITE 0x2
#define ENF_FMODE_PATH 0x4000        /* O_PATH: the file cannot be read or written through it */
#define ENF_FMODE_EXEC 0x20          /* __FMODE_EXEC, in f_flags */
#define ENF_O_CREAT 0100
#define ENF_O_TRUNC 01000
#define ENF_O_PATH 010000000
#define ENF_CREAT_FLAGS (01 | ENF_O_CREAT | ENF_O_TRUNC)     /* creat(2) is open(O_WRONLY | O_CREAT | O_TRUNC) */
#define ENF_TS_COMPAT 0x0002         /* thread_info.status: a 32-bit system call is being served */
#define ENF_AF_UNIX 1
#define ENF_AF_INET 2
#define ENF_AF_INET6 10
#define ENF_S_IFMT 0170000
#define ENF_S_IFSOCK 0140000
#define ENF_S_IFBLK 0060000
#define ENF_CGROUP2_MAGIC 0x63677270 /* include/uapi/linux/magic.h */
#define ENF_PTRACE_ATTACH 0x02       /* include/linux/ptrace.h: to stop it, read its memory or take its descriptors */
#define ENF_INTO_CGROUP 0x200000000  /* CLONE_INTO_CGROUP */
#define ENF_SIGKILL 9
#define ENF_EPERM 1
#define ENF_EACCES 13
#define ENF_EROFS 30

#endif
