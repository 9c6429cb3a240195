/*
 * One operation, again and again: prints the nanoseconds of one, the least and the median of so many batches, by the monotonic
 * clock. Under QEMU's -icount that clock counts instructions. `steps BATCHES N OPERATION[=ARGUMENT]...`, a line for each of:
 * getppid; stat=FILE; read=FILE (one byte); open=FILE (and close); each=DIRECTORY (open and close its files 0, 1, ... once each, or
 * be refused); connect=ADDRESS (a new UDP socket each time); send=ADDRESS (over one UDP socket, and received).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PORT 5353

static const char *argument;
static struct sockaddr_in to = {.sin_family = AF_INET};
static int file, sender, receiver, next;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int need(int result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

static void step_getppid(void)
{
	syscall(SYS_getppid);
}

static void step_stat(void)
{
	struct stat found;

	need(stat(argument, &found), argument);
}

static void step_read(void)
{
	char byte;

	need(pread(file, &byte, 1, 0), argument);
}

static void step_open(void)
{
	close(need(open(argument, O_RDONLY), argument));
}

static void step_each(void)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), "%d", next++);
	fd = openat(file, name, O_RDONLY);
	if (fd >= 0)
		close(fd);
	else if (errno != EPERM && errno != EACCES)
		fail(name);
}

static void step_connect(void)
{
	int fd = need(socket(AF_INET, SOCK_DGRAM, 0), "socket");

	need(connect(fd, (void *)&to, sizeof(to)), argument);
	close(fd);
}

static void step_send(void)
{
	char byte = 0;

	need(send(sender, &byte, 1, 0), argument);
	need(recv(receiver, &byte, 1, 0), argument);
}

static const struct operation {
	const char *name;
	void (*step)(void);
} operations[] = {
	{"getppid", step_getppid}, {"stat", step_stat}, {"read", step_read}, {"open", step_open},
	{"each", step_each}, {"connect", step_connect}, {"send", step_send}, {0},
};

static void prepare(const char *name)
{
	if (!strcmp(name, "read") || !strcmp(name, "each"))
		file = need(open(argument, *name == 'r' ? O_RDONLY : O_PATH), argument);
	if (strcmp(name, "connect") && strcmp(name, "send"))
		return;
	to.sin_port = htons(PORT);
	if (!inet_aton(argument, &to.sin_addr))
		fail(argument);
	receiver = need(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	setsockopt(receiver, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	need(bind(receiver, (void *)&to, sizeof(to)), argument);
	sender = need(socket(AF_INET, SOCK_DGRAM, 0), "socket");
	need(connect(sender, (void *)&to, sizeof(to)), argument);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static const struct operation *operation_named(const char *name)
{
	const struct operation *o = operations;

	while (o->name && strcmp(o->name, name))
		o++;
	return o->name ? o : 0;
}

static void measure(const struct operation *o, int batches, int n)
{
	double *took = calloc(batches, sizeof(*took));

	if (!took)
		fail("calloc");
	next = 0;
	prepare(o->name);
	for (int i = 0; i < batches; i++) {
		double start = now();

		for (int k = 0; k < n; k++)
			o->step();
		took[i] = (now() - start) / n;
	}
	qsort(took, batches, sizeof(*took), ascending);
	printf("%.1f %.1f\n", took[0], took[batches / 2]);
	free(took);
}

int main(int argc, char **argv)
{
	int batches = argc > 3 ? atoi(argv[1]) : 0, n = argc > 3 ? atoi(argv[2]) : 0;

	for (int i = 3; i < argc && batches > 0 && n > 0; i++) {
		char *is = strchr(argv[i], '=');
		const struct operation *o;

		if (is)
			*is = 0;
		argument = is ? is + 1 : "";
		o = operation_named(argv[i]);
		if (!o)
			return fprintf(stderr, "steps: no operation %s\n", argv[i]), 2;
		measure(o, batches, n);
	}
	return batches > 0 && n > 0 ? 0 : (fprintf(stderr, "usage: steps BATCHES N OPERATION[=ARGUMENT]...\n"), 2);
}
