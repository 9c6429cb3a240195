/*
 * Loads for the benches: so many of one operation, as fast as they go. Prints the nanoseconds of one, of the processor (user and
 * system), so that what else the machine does counts little. `load getppid N`, `load open DIRECTORY N` (its files 0 to N - 1),
 * `load connect N` (TCP, to a listener of its own on loopback).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void open_each(const char *directory, int n)
{
	char name[16];
	int fd, at = open(directory, O_PATH);

	if (at < 0)
		fail(directory);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%d", i);
		fd = openat(at, name, O_RDONLY);
		if (fd < 0)
			fail(name);
		close(fd);
	}
}

static void connect_each(int n)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct linger at_once = {1, 0};
	socklen_t size = sizeof(to);
	int fd, heard = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(heard, (void *)&to, size) || listen(heard, 64) || getsockname(heard, (void *)&to, &size))
		fail("listen");
	for (int i = 0; i < n; i++) {
		fd = socket(AF_INET, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		if (connect(fd, (void *)&to, size))
			fail("connect");
		close(accept(heard, 0, 0));
		close(fd);
	}
}

int main(int argc, char **argv)
{
	int n = argc > 2 ? atoi(argv[argc - 1]) : 0;
	double start = now();

	if (n > 0 && !strcmp(argv[1], "getppid"))
		for (int i = 0; i < n; i++)
			syscall(SYS_getppid);
	else if (n > 0 && !strcmp(argv[1], "open"))
		open_each(argv[2], n);
	else if (n > 0 && !strcmp(argv[1], "connect"))
		connect_each(n);
	else
		return fprintf(stderr, "usage: load getppid|open DIRECTORY|connect N\n"), 2;
	printf("%.3f\n", (now() - start) / n);
	return 0;
}
