/*
 * One way to reach an address: sender CGROUP_PROCS WAY ADDRESS PORT. Ends with the errno that the way ended with, 0 if it was let go.
 * An IPv4 address is reached as ::ffff:a.b.c.d by the ways that end in -mapped.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sockaddr_storage there;
static socklen_t size;
static int family;

static void aim(const char *address, int port, int mapped)
{
	struct sockaddr_in *four = (void *)&there;
	struct sockaddr_in6 *six = (void *)&there;
	char text[64];

	family = mapped || strchr(address, ':') ? AF_INET6 : AF_INET;
	snprintf(text, sizeof(text), "%s%s", mapped ? "::ffff:" : "", address);
	if (family == AF_INET) {
		*four = (struct sockaddr_in){.sin_family = family, .sin_port = htons(port)};
		inet_pton(family, text, &four->sin_addr);
		size = sizeof(*four);
	} else {
		*six = (struct sockaddr_in6){.sin6_family = family, .sin6_port = htons(port)};
		inet_pton(family, text, &six->sin6_addr);
		size = sizeof(*six);
	}
}

static int opened(int type)
{
	int on = 1, fd = socket(family, type, 0);

	setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on));
	return fd;
}

static int connected(int type) { return connect(opened(type), (void *)&there, size); }
static int way_tcp(void) { return connected(SOCK_STREAM); }
static int way_udp(void)
{
	int fd = opened(SOCK_DGRAM);

	return connect(fd, (void *)&there, size) < 0 ? -1 : send(fd, "x", 1, 0);
}
static int way_sendto(void) { return sendto(opened(SOCK_DGRAM), "x", 1, 0, (void *)&there, size); }
static int way_fastopen(void) { return sendto(opened(SOCK_STREAM), "x", 1, MSG_FASTOPEN, (void *)&there, size); }

static struct iovec byte = {"x", 1};

static struct msghdr message(void)
{
	return (struct msghdr){.msg_name = &there, .msg_namelen = size, .msg_iov = &byte, .msg_iovlen = 1};
}

static int way_sendmsg(void)
{
	struct msghdr m = message();

	return sendmsg(opened(SOCK_DGRAM), &m, 0);
}

static int way_sendmmsg(void)
{
	struct mmsghdr two[2] = {{.msg_hdr = message()}, {.msg_hdr = message()}};

	return sendmmsg(opened(SOCK_DGRAM), two, 2, 0);
}

/* One request by a ring of its own; what it ended with. */
static int by_ring(struct io_uring_sqe request)
{
	struct io_uring_params p = {};
	int fd = syscall(SYS_io_uring_setup, 2, &p);
	char *sq, *cq;
	struct io_uring_sqe *entries;
	int result;

	if (fd < 0)
		return -1;
	sq = mmap(0, p.sq_off.array + p.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	cq = mmap(0, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ, MAP_SHARED, fd, IORING_OFF_CQ_RING);
	entries = mmap(0, p.sq_entries * sizeof(request), PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	entries[0] = request;
	*(unsigned *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
		return -1;
	result = ((struct io_uring_cqe *)(cq + p.cq_off.cqes))[0].res;
	errno = result < 0 ? -result : 0;
	return result < 0 ? -1 : 0;
}

static int way_uring_connect(void)
{
	return by_ring((struct io_uring_sqe){.opcode = IORING_OP_CONNECT, .fd = opened(SOCK_STREAM), .addr = (unsigned long)&there,
					     .off = size});
}

static int way_uring_send(void)
{
	struct msghdr m = message();

	return by_ring((struct io_uring_sqe){.opcode = IORING_OP_SENDMSG, .fd = opened(SOCK_DGRAM), .addr = (unsigned long)&m, .len = 1});
}

static const struct {
	const char *name;
	int (*go)(void);
} ways[] = {
	{"tcp", way_tcp}, {"udp", way_udp}, {"sendto", way_sendto}, {"sendmsg", way_sendmsg}, {"sendmmsg", way_sendmmsg},
	{"fastopen", way_fastopen}, {"uring-connect", way_uring_connect}, {"uring-send", way_uring_send},
};

int main(int count, char **words)
{
	char *mapped = count == 5 ? strstr(words[2], "-mapped") : 0;
	int procs = open(words[1], O_WRONLY);

	if (write(procs, "0", 1) < 0)
		return 255;
	if (mapped)
		*mapped = 0;
	aim(words[3], atoi(words[4]), !!mapped);
	for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, words[2]))
			return ways[i].go() < 0 ? errno : 0;
	return 255;
}
