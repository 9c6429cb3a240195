/* Opens: the system calls, and the names that lead to a file. */
#include <dirent.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/xattr.h>

#include "attacker.h"

#define SECRET SAFE "/secret"

static void way_open(void)
{
	show(attempt(syscall(SYS_open, SECRET, O_RDONLY)));
}

static void way_openat(void)
{
	int directory = attempt(open(SAFE, O_PATH | O_DIRECTORY));

	show(attempt(openat(directory, "secret", O_RDONLY)));
}

static void by_openat2(unsigned long long resolve)
{
	struct open_how how = {.flags = O_RDONLY, .resolve = resolve};
	int directory = attempt(open(SAFE, O_PATH | O_DIRECTORY));

	if (resolve == RESOLVE_CACHED)
		close(attempt(open(SECRET, O_PATH)));
	show(attempt(syscall(SYS_openat2, directory, resolve == RESOLVE_IN_ROOT ? "/secret" : "secret", &how, sizeof(how))));
}

static void way_openat2(void) { by_openat2(0); }
static void way_no_xdev(void) { by_openat2(RESOLVE_NO_XDEV); }
static void way_no_magiclinks(void) { by_openat2(RESOLVE_NO_MAGICLINKS); }
static void way_no_symlinks(void) { by_openat2(RESOLVE_NO_SYMLINKS); }
static void way_beneath(void) { by_openat2(RESOLVE_BENEATH); }
static void way_in_root(void) { by_openat2(RESOLVE_IN_ROOT); }
static void way_cached(void) { by_openat2(RESOLVE_CACHED); }

/* The 32-bit call: other numbers by another door. Its arguments must lie in the low 4 GiB. */
static void way_int80(void)
{
	char *low = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long fd;

	need(low == MAP_FAILED ? -1 : 0, "mmap");
	strcpy(low, SECRET);
	__asm__ volatile("int $0x80" : "=a"(fd) : "a"(5), "b"(low), "c"(O_RDONLY), "d"(0) : "memory", "r8", "r9", "r10", "r11");
	errno = fd < 0 ? -fd : 0;
	show(attempt(fd < 0 ? -1 : fd));
}

static void way_creat(void) { done(creat(victim("victim"), 0600)); }
static void way_truncate_open(void) { done(open(victim("victim"), O_RDONLY | O_TRUNC)); }
static void way_write(void)
{
	int fd = attempt(open(victim("victim"), O_WRONLY));

	done(write(fd, "mine", 4));
}
static void way_create(void) { done(open(victim("new"), O_RDONLY | O_CREAT, 0600)); }
static void way_tmpfile(void) { done(open(SAFE, O_TMPFILE | O_RDWR, 0600)); }

/* A file's handle is no secret: it can be read off a path, or guessed. It is opened through a mount of our own. */
static void by_handle(const char *mount)
{
	struct {
		struct file_handle head;
		unsigned char room[MAX_HANDLE_SZ];
	} handle = {.head.handle_bytes = MAX_HANDLE_SZ};
	int ours = need(open(mount, O_RDONLY | O_DIRECTORY), "own mount"), id;

	attempt(name_to_handle_at(AT_FDCWD, SECRET, &handle.head, &id, 0));
	show(attempt(open_by_handle_at(ours, &handle.head, O_RDONLY)));
}

static void way_handle(void) { by_handle(OWN); }
static void way_handle_free(void) { by_handle(FREE); }

static void way_reopen(void)
{
	show_path(path("/proc/self/fd/%ld", attempt(open(SECRET, O_PATH))));
}

static void way_symlink(void)
{
	unlink(FREE "/link");
	need(symlink(SECRET, FREE "/link"), "symlink");
	show_path(FREE "/link");
}

static void way_hardlink_before(void) { show_path(FREE "/linked-before"); }

static void way_hardlink_after(void)
{
	unlink(FREE_BY_PARENT "/linked");
	attempt(link(SAFE_BY_PARENT "/linkable", FREE_BY_PARENT "/linked"));
	show_path(FREE_BY_PARENT "/linked");
}

static void way_parent(void) { show_path(SAFE_BY_PARENT "/secret"); }
static void way_subpath(void) { show_path("/sub/secret"); }

/* A volume that has the inode of one that is gone. */
static void way_inode_returns(void) { show_path(given("REBORN")); }

static void way_chroot(void)
{
	need(chroot(SAFE), "chroot");
	show_path("/secret");
}

/* 4,095 bytes and a NUL: the longest path there is. */
static void way_long_path(void)
{
	char longest[PATH_MAX] = SAFE, *end = longest + sizeof(SAFE) - 1;
	const char leaf[] = "//secret";

	while (end - longest + sizeof(leaf) + 1 < PATH_MAX)
		end = stpcpy(end, "/.");
	strcpy(end, leaf + (PATH_MAX - 1 - (end - longest) == sizeof(leaf) - 2));
	show_path(longest);
}

/* So many directories below the volume's root, seen from its parent: the mount says nothing, each level is walked. */
static void deep(int levels)
{
	attempt(chdir(path("%s/deep/%d", SAFE_BY_PARENT, levels)));
	for (int i = 0; i < levels; i++)
		attempt(chdir("d"));
	show_path("secret");
}

static void way_deep_300(void) { deep(300); }
static void way_deep_600(void) { deep(600); }

static void way_newline(void) { show_path(SAFE "/new\nline\t{\"forged\": true}"); }
static void way_escape(void) { show_path(SAFE "/\033[2J\033]0;mine\007\r"); }
static void way_bad_utf8(void) { show_path(SAFE "/\xff\xfe\xc3("); }

static void way_list(void)
{
	DIR *directory = opendir(SAFE);
	struct dirent *entry;

	attempt(directory ? 0 : -1);
	while ((entry = readdir(directory)))
		if (!strcmp(entry->d_name, "secret"))
			reached("secret", 6);
	refused(errno);
}

/* What is known of a file without opening it. */
static void way_stat(void)
{
	struct stat found;

	attempt(stat(SECRET, &found));
	reached(&found.st_mtim.tv_nsec, sizeof(found.st_mtim.tv_nsec));
}

static void way_readlink(void)
{
	char target[SECRET_MAX];

	reached(target, attempt(readlink(SAFE "/pointer", target, sizeof(target))));
}

static void way_getxattr(void)
{
	char value[SECRET_MAX];

	reached(value, attempt(getxattr(SECRET, "user.secret", value, sizeof(value))));
}

const struct way open_ways[] = {
	{"open", way_open},
	{"first", way_open},
	{"born-busy", way_open},
	{"volumes-from", way_open},
	{"openat", way_openat},
	{"openat2", way_openat2},
	{"no-xdev", way_no_xdev},
	{"no-magiclinks", way_no_magiclinks},
	{"no-symlinks", way_no_symlinks},
	{"beneath", way_beneath},
	{"in-root", way_in_root},
	{"cached", way_cached},
	{"int80", way_int80},
	{"creat", way_creat},
	{"o-trunc", way_truncate_open},
	{"write", way_write},
	{"create", way_create},
	{"o-tmpfile", way_tmpfile},
	{"handle", way_handle},
	{"handle-free", way_handle_free},
	{"reopen", way_reopen},
	{"symlink", way_symlink},
	{"link-before", way_hardlink_before},
	{"link-after", way_hardlink_after},
	{"parent", way_parent},
	{"subpath", way_subpath},
	{"inode-returns", way_inode_returns},
	{"chroot", way_chroot},
	{"long-path", way_long_path},
	{"deep-300", way_deep_300},
	{"deep-600", way_deep_600},
	{"newline", way_newline},
	{"escape", way_escape},
	{"bad-utf8", way_bad_utf8},
	{"list", way_list},
	{"stat", way_stat},
	{"readlink", way_readlink},
	{"getxattr", way_getxattr},
	{},
};
