/* Changes: every operation that alters a directory, a file or what is kept beside it, each on a victim of its own. */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include "attacker.h"

/* The same victim and a place outside, both below the directory of all volumes: nothing is renamed across mounts. */
static const char *within(const char *name)
{
	return path("%s%s", SAFE_BY_PARENT, victim(name) + sizeof(SAFE) - 1);
}

static const char *outside(const char *name)
{
	return path("%s%s", FREE_BY_PARENT, victim(name) + sizeof(SAFE) - 1);
}

static int readable(void) { return attempt(open(victim("victim"), O_RDONLY)); }
static const char *by_descriptor(void) { return path("/proc/self/fd/%ld", attempt(open(victim("victim"), O_PATH))); }

static void way_unlink(void) { done(unlink(victim("victim"))); }
static void way_rename(void) { done(rename(victim("victim"), victim("renamed"))); }
static void way_rename_out(void) { done(rename(within("victim"), outside("stolen"))); }
static void way_rename_in(void) { done(rename(outside("victim"), within("planted"))); }
static void way_rename_over(void) { done(rename(outside("victim"), within("victim"))); }

static void way_exchange(void)
{
	done(renameat2(AT_FDCWD, outside("victim"), AT_FDCWD, within("victim"), RENAME_EXCHANGE));
}

static void way_rename_directory(void) { done(rename(within("directory"), outside("stolen"))); }
static void way_link_out(void) { done(link(within("victim"), outside("stolen"))); }
static void way_link_in(void) { done(link(outside("victim"), within("planted"))); }
static void way_symlink_make(void) { done(symlink("/etc/passwd", victim("planted"))); }
static void way_mkdir(void) { done(mkdir(victim("planted"), 0700)); }
static void way_rmdir(void) { done(rmdir(victim("directory"))); }
static void way_mknod(void) { done(mknod(victim("planted"), S_IFREG | 0600, 0)); }
static void way_mkfifo(void) { done(mkfifo(victim("planted"), 0600)); }

static void way_bind_socket(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", victim("planted"));
	done(bind(need(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), (struct sockaddr *)&at, sizeof(at)));
}

static void way_truncate(void) { done(truncate(victim("victim"), 1)); }
static void way_chmod(void) { done(chmod(victim("victim"), 0)); }
static void way_fchmod(void) { done(fchmod(readable(), 0)); }
static void way_chmod_path(void) { done(chmod(by_descriptor(), 0)); }
static void way_chown(void) { done(chown(victim("victim"), 7, 7)); }
static void way_fchown(void) { done(fchown(readable(), 7, 7)); }
static void way_utimensat(void) { done(utimensat(AT_FDCWD, victim("victim"), (struct timespec[]){{1, 0}, {1, 0}}, 0)); }
static void way_futimens(void) { done(futimens(readable(), (struct timespec[]){{1, 0}, {1, 0}})); }
static void way_utime_now(void) { done(utimensat(AT_FDCWD, victim("victim"), 0, 0)); }
static void way_setxattr(void) { done(setxattr(victim("victim"), "user.planted", "x", 1, 0)); }
static void way_fsetxattr(void) { done(fsetxattr(readable(), "user.planted", "x", 1, 0)); }
static void way_removexattr(void) { done(removexattr(victim("victim"), "user.secret")); }
static void way_fremovexattr(void) { done(fremovexattr(readable(), "user.secret")); }

/* An access list that grants one more user, as setfacl writes it (struct posix_acl_xattr_header). */
static void way_set_acl(void)
{
	const struct {
		unsigned version;
		struct { unsigned short tag, perm; unsigned id; } entries[5];
	} acl = {2, {{1, 6, -1}, {2, 6, 7}, {4, 4, -1}, {16, 6, -1}, {32, 4, -1}}};

	done(setxattr(victim("victim"), "system.posix_acl_access", &acl, sizeof(acl), 0));
}

/* The flags that chattr sets, by a descriptor that may only read. */
static void way_flags(void)
{
	int file = readable(), flags;

	attempt(ioctl(file, FS_IOC_GETFLAGS, &flags));
	flags |= FS_NODUMP_FL;
	done(ioctl(file, FS_IOC_SETFLAGS, &flags));
}

static void way_fallocate(void) { done(fallocate(attempt(open(victim("victim"), O_WRONLY)), 0, 0, 8192)); }
static void way_ftruncate(void) { done(ftruncate(attempt(open(victim("victim"), O_WRONLY)), 1)); }

const struct way change_ways[] = {
	{"unlink", way_unlink},
	{"rename", way_rename},
	{"rename-out", way_rename_out},
	{"rename-in", way_rename_in},
	{"rename-over", way_rename_over},
	{"exchange", way_exchange},
	{"rename-dir-out", way_rename_directory},
	{"link-out", way_link_out},
	{"link-in", way_link_in},
	{"symlink-make", way_symlink_make},
	{"mkdir", way_mkdir},
	{"rmdir", way_rmdir},
	{"mknod", way_mknod},
	{"mkfifo", way_mkfifo},
	{"bind-socket", way_bind_socket},
	{"truncate", way_truncate},
	{"chmod", way_chmod},
	{"fchmod", way_fchmod},
	{"chmod-path", way_chmod_path},
	{"chown", way_chown},
	{"fchown", way_fchown},
	{"utimensat", way_utimensat},
	{"futimens", way_futimens},
	{"utime-now", way_utime_now},
	{"setxattr", way_setxattr},
	{"fsetxattr", way_fsetxattr},
	{"removexattr", way_removexattr},
	{"fremovexattr", way_fremovexattr},
	{"set-acl", way_set_acl},
	{"flags", way_flags},
	{"fallocate", way_fallocate},
	{"ftruncate", way_ftruncate},
	{},
};
