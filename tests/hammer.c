/*
 * Tries what is forbidden, again and again at full speed, and keeps the books: the proof that there was no gap.
 *
 *   hammer [-f] DEED:TARGET...     open:PATH  chmod:PATH  unlink:PATH  rename:PATH  connect:IPv4:PORT (UDP: nothing is sent)
 *
 * One round tries each deed once. With -f each try is a child of its own, for mechanisms that answer with death. It says "ready";
 * SIGRTMIN (which queues) begins a new phase; SIGTERM ends it: one line of JSON, by deed and phase, with what came of the tries
 * ("done" is a success) and the longest pause between two of them. A phase without tries, or with a pause as long as itself,
 * proves nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 0, KILLED = 200, OTHER, OUTCOMES, MOST_DEEDS = 8, MOST_PHASES = 64, CHILD_DONE = 255 };

struct phase {
	uint64_t outcomes[OUTCOMES];     /* by errno */
	uint64_t longest_us;
};

struct deed {
	const char *name;
	int (*try)(struct deed *deed);   /* errno, or DONE */
	const char *target;
	struct sockaddr_in address;
	int socket;
	uint64_t last_us;
	struct phase phases[MOST_PHASES];
};

static struct deed deeds[MOST_DEEDS];
static uint64_t began[MOST_PHASES + 1];
static volatile sig_atomic_t phase, ended;

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000ull + now.tv_nsec / 1000;
}

static void on_signal(int number)
{
	if (number == SIGTERM)
		ended = 1;
	else if (phase < MOST_PHASES - 1)
		began[++phase] = now_us();
}

static int try_open(struct deed *deed)
{
	int fd = open(deed->target, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? errno : close(fd);
}

static int try_chmod(struct deed *deed)
{
	return chmod(deed->target, 0600) ? errno : DONE;
}

static int try_unlink(struct deed *deed)
{
	return unlink(deed->target) ? errno : DONE;
}

static int try_rename(struct deed *deed)
{
	char moved[4096];

	snprintf(moved, sizeof(moved), "%s.moved", deed->target);
	return rename(deed->target, moved) ? errno : DONE;
}

static int try_connect(struct deed *deed)
{
	return connect(deed->socket, (struct sockaddr *)&deed->address, sizeof(deed->address)) ? errno : DONE;
}

static const struct deed KNOWN[] = {
	{.name = "open", .try = try_open},
	{.name = "chmod", .try = try_chmod},
	{.name = "unlink", .try = try_unlink},
	{.name = "rename", .try = try_rename},
	{.name = "connect", .try = try_connect},
};

static void refuse(const char *what)
{
	fprintf(stderr, "hammer: cannot do %s\n", what);
	exit(2);
}

static void prepare(struct deed *deed, char *word)
{
	char *target = strchr(word, ':'), *port;

	if (!target)
		refuse(word);
	*target++ = 0;
	for (size_t n = 0; n < sizeof(KNOWN) / sizeof(*KNOWN); n++)
		if (!strcmp(word, KNOWN[n].name))
			*deed = KNOWN[n];
	if (!deed->try)
		refuse(word);
	deed->target = target;
	if (deed->try != try_connect)
		return;
	port = strchr(target, ':');
	if (!port)
		refuse(target);
	*port++ = 0;
	deed->address.sin_family = AF_INET;
	deed->address.sin_port = htons(atoi(port));
	deed->socket = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (deed->socket < 0 || inet_pton(AF_INET, target, &deed->address.sin_addr) != 1)
		refuse(target);
}

static int in_child(struct deed *deed)
{
	int status, error;
	pid_t child = vfork();

	if (child < 0)
		return errno;
	if (!child) {
		error = deed->try(deed);
		_exit(error == DONE ? CHILD_DONE : error);
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGKILL ? KILLED : OTHER;
	return WEXITSTATUS(status) == CHILD_DONE ? DONE : WEXITSTATUS(status);
}

static void once(struct deed *deed, int forked)
{
	struct phase *now = &deed->phases[phase];  /* that of the try's beginning */
	int outcome = forked ? in_child(deed) : deed->try(deed);
	uint64_t end = now_us();

	now->outcomes[outcome < OUTCOMES ? outcome : OTHER]++;
	if (end - deed->last_us > now->longest_us)
		now->longest_us = end - deed->last_us;
	deed->last_us = end;
}

static const char *name_of(int outcome)
{
	if (outcome == DONE)
		return "done";
	if (outcome == KILLED)
		return "killed";
	return outcome == OTHER || !strerrorname_np(outcome) ? "other" : strerrorname_np(outcome);
}

static void print_phase(const struct phase *of)
{
	const char *comma = "";

	printf("{\"longest_us\": %llu, \"outcomes\": {", (unsigned long long)of->longest_us);
	for (int n = 0; n < OUTCOMES; n++)
		if (of->outcomes[n]) {
			printf("%s\"%s\": %llu", comma, name_of(n), (unsigned long long)of->outcomes[n]);
			comma = ", ";
		}
	printf("}}");
}

static void print_all(int count)
{
	printf("{\"lengths_us\": [");
	for (int n = 0; n <= phase; n++)
		printf("%s%llu", n ? ", " : "", (unsigned long long)(began[n + 1] - began[n]));
	printf("], \"deeds\": {");
	for (int d = 0; d < count; d++) {
		printf("%s\"%s\": [", d ? ", " : "", deeds[d].name);
		for (int n = 0; n <= phase; n++) {
			printf("%s", n ? ", " : "");
			print_phase(&deeds[d].phases[n]);
		}
		printf("]");
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	int forked = argc > 1 && !strcmp(argv[1], "-f"), count = argc - 1 - forked;

	if (count < 1 || count > MOST_DEEDS)
		refuse("so many deeds");
	for (int d = 0; d < count; d++)
		prepare(&deeds[d], argv[1 + forked + d]);
	signal(SIGRTMIN, on_signal);
	signal(SIGTERM, on_signal);
	puts("ready");
	fflush(stdout);
	began[0] = now_us();
	for (int d = 0; d < count; d++)
		deeds[d].last_us = began[0];
	while (!ended)
		for (int d = 0; d < count; d++)
			once(&deeds[d], forked);
	began[phase + 1] = now_us();
	print_all(count);
	return 0;
}
