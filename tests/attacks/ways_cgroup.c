/* Cgroups: a process is known by the cgroup that it is in, so it goes elsewhere. */
#include <linux/sched.h>

#include "attacker.h"

/* This container's cgroup in the version 2 hierarchy, as /proc/self/cgroup names it from the namespace that we are in. */
static const char *own_cgroup(void)
{
	static char line[512];
	FILE *list = fopen("/proc/self/cgroup", "r");

	need(list ? 0 : -1, "/proc/self/cgroup");
	while (fgets(line, sizeof(line), list))
		if (!strncmp(line, "0::", 3)) {
			line[strcspn(line, "\n")] = 0;
			fclose(list);
			return line + 3;
		}
	impossible("no cgroup of version 2");
}

/* The whole hierarchy at /mnt: the container shares the host's cgroup namespace. */
static void mount_cgroups(void)
{
	private_mounts();
	attempt(mount("none", "/mnt", "cgroup2", 0, 0));
}

static void move(const char *cgroup, pid_t who)
{
	const char *text = path("%d", who);
	int procs = attempt(open(path("/mnt%s/cgroup.procs", cgroup), O_WRONLY));

	attempt(write(procs, text, strlen(text)));
	close(procs);
}

static void move_and_show(const char *cgroup)
{
	move(cgroup, getpid());
	show_path(SAFE "/secret");
}

static void way_root(void)
{
	mount_cgroups();
	move_and_show("");
}

/* Into the cgroup of a container that is granted the secret. */
static void way_owner(void)
{
	mount_cgroups();
	move_and_show(given("OWNER_CGROUP"));
}

/* A cgroup that nobody knows, beside the containers'. */
static void way_new(void)
{
	const char *made = "/attacks-elsewhere";

	mount_cgroups();
	attempt(mkdir(path("/mnt%s", made), 0700) && errno != EEXIST ? -1 : 0);
	move_and_show(made);
}

/* A cgroup below its own: lawful, and no way out. */
static void way_nested(void)
{
	const char *made;

	mount_cgroups();
	made = path("%s/nested", own_cgroup());
	need(mkdir(path("/mnt%s", made), 0700) && errno != EEXIST ? -1 : 0, "nested cgroup");
	move_and_show(made);
}

static void way_child(void)
{
	int go[2];
	char byte;
	pid_t child;

	mount_cgroups();
	need(pipe(go), "pipe");
	child = need(fork(), "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		if (read(go[0], &byte, 1) == 1)
			show_path(SAFE "/secret");
		_exit(0);
	}
	move("", child);
	need(write(go[1], "", 1), "pipe");
	as_child(child);
}

/* A thread of another process: the whole container follows by the version 1 file, one thread by this one. */
static void way_clone3(void)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	pid_t child;

	mount_cgroups();
	args.cgroup = attempt(open("/mnt", O_RDONLY | O_DIRECTORY));
	child = attempt(syscall(SYS_clone3, &args, sizeof(args)));
	if (!child)
		show_path(SAFE "/secret");
	as_child(child);
}

/* The same by a descriptor that nothing can be read or written through. */
static void way_clone3_path(void)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	pid_t child;

	mount_cgroups();
	args.cgroup = attempt(open("/mnt", O_PATH | O_DIRECTORY));
	child = attempt(syscall(SYS_clone3, &args, sizeof(args)));
	if (!child)
		show_path(SAFE "/secret");
	as_child(child);
}

static void way_unshare(void)
{
	need(unshare(CLONE_NEWCGROUP), "unshare");
	show_path(SAFE "/secret");
}

const struct way cgroup_ways[] = {
	{"cgroup-root", way_root},
	{"cgroup-owner", way_owner},
	{"cgroup-new", way_new},
	{"cgroup-nested", way_nested},
	{"cgroup-child", way_child},
	{"clone3", way_clone3},
	{"clone3-path", way_clone3_path},
	{"unshare-cgroup", way_unshare},
	{},
};
