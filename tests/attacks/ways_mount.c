/* Mounts: the protected directory, or the filesystem that holds it, seen from somewhere else. */
#include <linux/mount.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/sysmacros.h>

#include "attacker.h"

void private_mounts(void)
{
	need(unshare(CLONE_NEWNS), "unshare");
	need(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0), "private mounts");
}

static void bind_and_show(const char *from, const char *file)
{
	private_mounts();
	attempt(mount(from, "/mnt", 0, MS_BIND, 0));
	show_path(file);
}

static void way_bind(void) { bind_and_show(SAFE, "/mnt/secret"); }
static void way_bind_parent(void) { bind_and_show("/volumes", "/mnt/safe-data/_data/secret"); }

static void way_bind_file(void)
{
	close(need(open("/tmp/file", O_CREAT | O_WRONLY, 0600), "file"));
	private_mounts();
	attempt(mount(SAFE "/secret", "/tmp/file", 0, MS_BIND, 0));
	show_path("/tmp/file");
}

static void way_open_tree(void)
{
	int tree = attempt(syscall(SYS_open_tree, AT_FDCWD, SAFE, OPEN_TREE_CLONE));

	show(attempt(openat(tree, "secret", O_RDONLY)));
}

/* The same filesystem, mounted anew: the volume's directory by its path from the filesystem's root. */
static void way_mount_device(void)
{
	private_mounts();
	attempt(mount(given("DEVICE"), "/mnt", given("FILESYSTEM"), 0, 0));
	show_path(path("/mnt%s/secret", given("ON_DEVICE")));
}

static void configure(int fs, unsigned command, const char *key, const char *value)
{
	attempt(syscall(SYS_fsconfig, fs, command, key, value, 0));
}

static int make_mount(int fs)
{
	configure(fs, FSCONFIG_CMD_CREATE, 0, 0);
	return attempt(syscall(SYS_fsmount, fs, 0, 0));
}

/* The same by the calls that replace mount(2). It is never attached to a directory. */
static void way_fsopen_device(void)
{
	int fs = need(syscall(SYS_fsopen, given("FILESYSTEM"), 0), "fsopen");

	configure(fs, FSCONFIG_SET_STRING, "source", given("DEVICE"));
	show(attempt(openat(make_mount(fs), path(".%s/secret", given("ON_DEVICE")), O_RDONLY)));
}

/* Where the secret lies on the disk is no secret to who can read the disk. */
static void read_disk(const char *device)
{
	char bytes[SECRET_MAX];
	int disk = attempt(open(device, O_RDONLY));

	reached(bytes, attempt(pread(disk, bytes, sizeof(bytes), number("OFFSET"))));
}

static void way_raw_device(void) { read_disk(given("DEVICE")); }

/* A node of our own for the same device. */
static void way_own_node(void)
{
	struct stat device;

	need(stat(given("DEVICE"), &device), "stat");
	unlink("/tmp/disk");
	need(mknod("/tmp/disk", S_IFBLK | 0600, device.st_rdev), "mknod");
	read_disk("/tmp/disk");
}

static void overlay_directories(void)
{
	private_mounts();
	need(mount("none", "/mnt", "tmpfs", 0, 0), "tmpfs");
	for (const char **d = (const char *[]){"/mnt/lower", "/mnt/upper", "/mnt/work", "/mnt/all", 0}; *d; d++)
		need(mkdir(*d, 0700), *d);
}

static void way_overlay_lower(void)
{
	overlay_directories();
	attempt(mount("overlay", "/mnt/all", "overlay", 0, "lowerdir=" SAFE ",upperdir=/mnt/upper,workdir=/mnt/work"));
	show_path("/mnt/all/secret");
}

static void way_overlay_read_only(void)
{
	overlay_directories();
	attempt(mount("overlay", "/mnt/all", "overlay", 0, "lowerdir=" SAFE ":/mnt/lower"));
	show_path("/mnt/all/secret");
}

static void way_overlay_upper(void)
{
	overlay_directories();
	mkdir(FREE_BY_PARENT "/work", 0700);
	attempt(mount("overlay", "/mnt/all", "overlay", 0,
		      "lowerdir=/mnt/lower,upperdir=" SAFE_BY_PARENT ",workdir=" FREE_BY_PARENT "/work"));
	show_path("/mnt/all/secret");
}

static void way_overlay_fsopen(void)
{
	int fs;

	overlay_directories();
	fs = need(syscall(SYS_fsopen, "overlay", 0), "fsopen");
	configure(fs, FSCONFIG_SET_STRING, "lowerdir", SAFE ":/mnt/lower");
	show(attempt(openat(make_mount(fs), "secret", O_RDONLY)));
}

/* Where every user may make mounts of its own: an overlay by an unprivileged user's root. */
static void way_overlay_userns(void)
{
	need(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare");
	need(mount("none", "/", 0, MS_REC | MS_SLAVE, 0), "private mounts");
	attempt(mount("overlay", "/mnt", "overlay", 0, "lowerdir=" SAFE ":/tmp"));
	show_path("/mnt/secret");
}

/* What is told of the opens of others: the name by inotify, the file itself by fanotify. The owner opens when it is met. */
static void way_inotify(void)
{
	char buffer[4096];
	int events = need(inotify_init(), "inotify_init");

	attempt(inotify_add_watch(events, SAFE, IN_OPEN));
	close(meet());
	attempt(read(events, buffer, sizeof(buffer)));
	reached(((struct inotify_event *)buffer)->name, strnlen(((struct inotify_event *)buffer)->name, SECRET_MAX));
}

static void way_fanotify(void)
{
	struct fanotify_event_metadata event;
	int events = need(fanotify_init(FAN_CLASS_NOTIF, O_RDONLY), "fanotify_init");

	attempt(fanotify_mark(events, FAN_MARK_ADD, FAN_OPEN | FAN_EVENT_ON_CHILD, AT_FDCWD, SAFE));
	close(meet());
	attempt(read(events, &event, sizeof(event)));
	errno = event.fd < 0 ? EBADF : 0;
	show(attempt(event.fd < 0 ? -1 : event.fd));
}

static void way_unshare_mount(void)
{
	need(unshare(CLONE_NEWNS), "unshare");
	show_path(SAFE "/secret");
}

static void way_unshare_user(void)
{
	need(unshare(CLONE_NEWUSER), "unshare");
	show_path(SAFE "/secret");
}

const struct way mount_ways[] = {
	{"bind", way_bind},
	{"bind-file", way_bind_file},
	{"bind-parent", way_bind_parent},
	{"open-tree", way_open_tree},
	{"mount-device", way_mount_device},
	{"fsopen-device", way_fsopen_device},
	{"raw-device", way_raw_device},
	{"own-node", way_own_node},
	{"overlay-lower", way_overlay_lower},
	{"overlay-ro", way_overlay_read_only},
	{"overlay-upper", way_overlay_upper},
	{"overlay-fsopen", way_overlay_fsopen},
	{"overlay-userns", way_overlay_userns},
	{"inotify", way_inotify},
	{"fanotify", way_fanotify},
	{"unshare-mount", way_unshare_mount},
	{"unshare-user", way_unshare_user},
	{},
};
