/* Processes: a descriptor, a root directory or the memory of one that has the secret; sockets that are files. */
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "attacker.h"

#define SECRET SAFE "/secret"
#define HELD_FD 100                             /* the owner's descriptor of the secret */
#define HELD_DIRECTORY 101

char held[SECRET_MAX];

static struct sockaddr_un meeting(const char *file)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", file);
	return at;
}

int meet(void)
{
	struct sockaddr_un at = meeting(MEETING "/s");
	int s = need(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	char byte;

	need(connect(s, (struct sockaddr *)&at, sizeof(at)), "connect to the owner");
	need(recv(s, &byte, 1, MSG_PEEK), "the owner's word");
	return s;
}

static void hand_over(int to, int *fds, size_t n)
{
	char room[CMSG_SPACE(4 * sizeof(int))] = {};
	struct iovec word = {.iov_base = "x", .iov_len = 1};
	struct msghdr message = {.msg_iov = &word, .msg_iovlen = 1, .msg_control = room,
				 .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	*head = (struct cmsghdr){.cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(head), fds, n * sizeof(int));
	sendmsg(to, &message, MSG_NOSIGNAL);
}

/* The container that may: it stands in the directory, holds the file open, mapped and read, and hands it to whoever comes. */
void serve(void)
{
	struct sockaddr_un at = meeting(MEETING "/s"), dgram = meeting(SAFE "/dgram");
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), file = open(SECRET, O_RDONLY);
	int directory = open(SAFE, O_RDONLY | O_DIRECTORY), fds[] = {HELD_FD, HELD_DIRECTORY}, guest;

	unlink(at.sun_path);
	unlink(dgram.sun_path);
	if (file < 0 || pread(file, held, sizeof(held), 0) < 1 || chdir(SAFE) || dup2(file, HELD_FD) < 0 ||
	    dup2(directory, HELD_DIRECTORY) < 0 || mmap(0, 4096, PROT_READ, MAP_SHARED, file, 0) == MAP_FAILED ||
	    bind(socket(AF_UNIX, SOCK_DGRAM, 0), (struct sockaddr *)&dgram, sizeof(dgram)) ||
	    bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 64)) {
		perror("serve");
		exit(1);
	}
	while ((guest = accept(listener, 0, 0)) >= 0) {
		close(open(SECRET, O_RDONLY));  /* for whoever watches */
		hand_over(guest, fds, 2);
		close(guest);
	}
}

static int receive(int which)
{
	char room[CMSG_SPACE(4 * sizeof(int))] = {}, byte;
	struct iovec word = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {.msg_iov = &word, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *head;
	int fds[2];

	attempt(recvmsg(meet(), &message, 0));
	head = CMSG_FIRSTHDR(&message);
	if (!head || head->cmsg_len < CMSG_LEN(sizeof(fds)))
		refused(0);                     /* the kernel drops the descriptor and says MSG_CTRUNC, no errno */
	memcpy(fds, CMSG_DATA(head), sizeof(fds));
	return fds[which];
}

static void way_scm(void)
{
	char bytes[SECRET_MAX];

	reached(bytes, attempt(pread(receive(0), bytes, sizeof(bytes), 0)));
}

static void way_scm_mmap(void)
{
	const char *mapped = mmap(0, 4096, PROT_READ, MAP_PRIVATE, receive(0), 0);

	attempt(mapped == MAP_FAILED ? -1 : 0);
	reached(mapped, strnlen(mapped, SECRET_MAX));
}

static void way_scm_directory(void) { show(attempt(openat(receive(1), "secret", O_RDONLY))); }


static void way_pidfd_getfd(void)
{
	int owner = need(syscall(SYS_pidfd_open, number("OWNER_PID"), 0), "pidfd_open"), fd;
	char bytes[SECRET_MAX];

	fd = attempt(syscall(SYS_pidfd_getfd, owner, HELD_FD, 0));
	reached(bytes, attempt(pread(fd, bytes, sizeof(bytes), 0)));
}

static void way_vm_readv(void)
{
	char bytes[SECRET_MAX];
	struct iovec ours = {.iov_base = bytes, .iov_len = sizeof(bytes)}, theirs = {.iov_base = held, .iov_len = sizeof(held)};

	reached(bytes, attempt(process_vm_readv(number("OWNER_PID"), &ours, 1, &theirs, 1, 0)));
}

static void way_ptrace(void)
{
	long owner = number("OWNER_PID"), words[SECRET_MAX / sizeof(long)];
	int status;

	attempt(ptrace(PTRACE_ATTACH, owner, 0, 0));
	attempt(waitpid(owner, &status, __WALL));
	for (size_t i = 0; i < SECRET_MAX / sizeof(long); i++)
		words[i] = ptrace(PTRACE_PEEKDATA, owner, held + i * sizeof(long), 0);
	ptrace(PTRACE_DETACH, owner, 0, 0);
	reached(words, sizeof(words));
}

static void way_proc_mem(void)
{
	char bytes[SECRET_MAX];
	int memory = attempt(open(path("/proc/%ld/mem", number("OWNER_PID")), O_RDONLY));

	reached(bytes, attempt(pread(memory, bytes, sizeof(bytes), (off_t)(unsigned long)held)));
}

static void of_owner(const char *what) { show_path(path("/proc/%ld/%s", number("OWNER_PID"), what)); }
static void way_proc_root(void) { of_owner("root" SECRET); }
static void way_proc_cwd(void) { of_owner("cwd/secret"); }
static void way_proc_fd(void) { of_owner(path("fd/%d", HELD_FD)); }

static void way_map_files(void)
{
	FILE *maps = fopen(path("/proc/%ld/maps", number("OWNER_PID")), "r");
	char line[512];

	attempt(maps ? 0 : -1);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, SECRET))
			of_owner(path("map_files/%.*s", (int)strcspn(line, " "), line));
	refused(errno);
}

static void way_setns(void)
{
	int theirs = attempt(open(path("/proc/%ld/ns/mnt", number("OWNER_PID")), O_RDONLY));

	attempt(setns(theirs, CLONE_NEWNS));
	show_path(SECRET);
}

static void way_setns_pidfd(void)
{
	int owner = need(syscall(SYS_pidfd_open, number("OWNER_PID"), 0), "pidfd_open");

	attempt(setns(owner, CLONE_NEWNS | CLONE_NEWUTS));
	show_path(SECRET);
}

static void way_host_root(void) { show_path(path("/proc/1/root%s/secret", given("ON_HOST"))); }

/* Sockets that are files in a place of others. */
static void way_docker_sock(void)
{
	struct sockaddr_un at = meeting("/docker.sock");
	char answer[4096] = "", *body;
	int s = need(socket(AF_UNIX, SOCK_STREAM, 0), "socket");

	attempt(connect(s, (struct sockaddr *)&at, sizeof(at)));
	attempt(dprintf(s, "GET /_ping HTTP/1.0\r\n\r\n"));
	for (ssize_t n, used = 0; (n = read(s, answer + used, sizeof(answer) - 1 - used)) > 0;)
		used += n;
	body = strstr(answer, "\r\n\r\n");
	attempt(body ? 0 : -1);
	reached(body + 4, 2);
}

static void way_datagram(void)
{
	struct sockaddr_un at = meeting(SAFE "/dgram");
	int s = need(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");

	attempt(sendto(s, "mine", 4, MSG_DONTWAIT, (struct sockaddr *)&at, sizeof(at)));
	reached("sent", 4);
}

static void way_datagram_connected(void)
{
	struct sockaddr_un at = meeting(SAFE "/dgram");
	int s = need(socket(AF_UNIX, SOCK_DGRAM, 0), "socket");

	attempt(connect(s, (struct sockaddr *)&at, sizeof(at)));
	attempt(send(s, "mine", 4, MSG_DONTWAIT));
	reached("sent", 4);
}

const struct way process_ways[] = {
	{"scm", way_scm},
	{"scm-mmap", way_scm_mmap},
	{"scm-directory", way_scm_directory},
	{"pidfd_getfd", way_pidfd_getfd},
	{"vm_readv", way_vm_readv},
	{"ptrace", way_ptrace},
	{"proc-mem", way_proc_mem},
	{"proc-root", way_proc_root},
	{"proc-cwd", way_proc_cwd},
	{"proc-fd", way_proc_fd},
	{"map_files", way_map_files},
	{"setns", way_setns},
	{"setns-pidfd", way_setns_pidfd},
	{"host-root", way_host_root},
	{"docker.sock", way_docker_sock},
	{"datagram", way_datagram},
	{"datagram-conn", way_datagram_connected},
	{},
};
