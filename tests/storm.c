/*
 * One deed so many times, as fast as it goes:
 *
 *   storm CGROUP_PROCS COUNT DEED [PATH]
 *
 *   same PATH        open the file        files PATH      open PATH/0, PATH/1, ...      children PATH   each in a process of its own
 *   destinations     connect datagram sockets to 2001:db8:: and up, in a network namespace with no route: nothing is sent
 *   refused PATH     open the file as nobody, which its mode refuses
 *
 * It joins the cgroup first, and prints how many succeeded when it ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int result, const char *what)
{
	if (result >= 0)
		return;
	perror(what);
	exit(2);
}

static int opened(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	return fd >= 0 && !close(fd);
}

static int in_child(const char *path)
{
	int status;
	pid_t child = vfork();

	must(child, "vfork");
	if (!child)
		_exit(!opened(path));
	must(waitpid(child, &status, 0), "waitpid");
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

static int numbered(const char *directory, long n)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%ld", directory, n);
	return opened(path);
}

static int connected(int sender, long n)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	uint8_t *bytes = to.sin6_addr.s6_addr;

	bytes[0] = 0x20, bytes[1] = 0x01, bytes[2] = 0x0d, bytes[3] = 0xb8;
	for (int i = 0; i < 8; i++)
		bytes[15 - i] = n >> 8 * i;
	return !connect(sender, (struct sockaddr *)&to, sizeof(to)) || errno == ENETUNREACH;
}

int main(int argc, char **argv)
{
	long count = argc > 3 ? atol(argv[2]) : 0, done = 0;
	const char *deed = argc > 3 ? argv[3] : "", *path = argc > 4 ? argv[4] : "";
	int procs = count > 0 ? open(argv[1], O_WRONLY | O_CLOEXEC) : -1, sender;

	must(procs, "cgroup.procs");
	must(write(procs, "0", 1), "join");
	if (!strcmp(deed, "destinations")) {
		must(unshare(CLONE_NEWNET), "unshare");
		sender = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		must(sender, "socket");
		for (long n = 0; n < count; n++)
			done += connected(sender, n);
	} else if (!strcmp(deed, "files")) {
		for (long n = 0; n < count; n++)
			done += numbered(path, n);
	} else if (!strcmp(deed, "children")) {
		for (long n = 0; n < count; n++)
			done += in_child(path);
	} else {
		if (!strcmp(deed, "refused"))
			must(seteuid(65534), "seteuid");
		for (long n = 0; n < count; n++)
			done += opened(path);
	}
	printf("%ld\n", done);
	return 0;
}
