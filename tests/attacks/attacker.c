/* Runs ways, each in a child of its own, and prints `WAY <tab> outcome <tab> why <tab> proof in hex` for each. */
#include <stdarg.h>

#include "attacker.h"

#define PATIENCE_S 120                          /* a way that hangs proves nothing */

static const struct way *const all_ways[] = {open_ways, race_ways,   mount_ways, cgroup_ways, process_ways,
					     exec_ways, change_ways, agent_ways};
int report = -1;                                /* the pipe to the parent */
static const char *current = "";

static void say(const char *outcome, const char *why, const unsigned char *proof, size_t n)
{
	char line[256 + 2 * SECRET_MAX];
	int used = snprintf(line, sizeof(line), "%s\t%s\t", outcome, why);

	for (size_t i = 0; i < n && i < SECRET_MAX; i++)
		used += snprintf(line + used, sizeof(line) - used, "%02x", proof[i]);
	if (write(report, line, used) != used)
		_exit(2);
}

void tell(const void *proof, size_t n)
{
	say("reached", "", proof, n);
}

void reached(const void *proof, size_t n)
{
	tell(proof, n);
	_exit(0);
}

void refused(int error)
{
	say("refused", error ? strerrorname_np(error) : "-", 0, 0);
	_exit(0);
}

void impossible(const char *step)
{
	char why[128];

	snprintf(why, sizeof(why), "%s %s", step, errno ? strerrorname_np(errno) : "-");
	say("impossible", why, 0, 0);
	_exit(0);
}

void show(int fd)
{
	char bytes[SECRET_MAX];

	reached(bytes, attempt(read(fd, bytes, sizeof(bytes))));
}

void show_path(const char *path)
{
	show(attempt(open(path, O_RDONLY)));
}

void done(long result)
{
	attempt(result);
	reached("", 0);
}

long need(long result, const char *step)
{
	if (result < 0)
		impossible(step);
	return result;
}

long attempt(long result)
{
	if (result < 0)
		refused(errno);
	return result;
}

const char *given(const char *name)
{
	const char *value = getenv(name);

	errno = 0;
	if (!value)
		impossible(name);
	return value;
}

long number(const char *name)
{
	return strtol(given(name), 0, 0);
}

char *path(const char *format, ...)
{
	char *made;
	va_list args;

	va_start(args, format);
	need(vasprintf(&made, format, args), "memory");
	va_end(args);
	return made;
}

void as_child(pid_t child)
{
	int status;

	need(child, "fork");
	while (waitpid(child, &status, 0) < 0)
		need(errno == EINTR ? 0 : -1, "waitpid");
	if (WIFSIGNALED(status))
		kill(getpid(), WTERMSIG(status));
	_exit(WEXITSTATUS(status));
}

void write_text(const char *file, const char *text, const char *step)
{
	int fd = need(open(file, O_WRONLY), step);

	need(write(fd, text, strlen(text)), step);
	close(fd);
}

const char *victim(const char *name)
{
	return path("%s/%s/%s/%s", SAFE, given("PLACE"), current, name);
}

static const struct way *find(const char *name)
{
	for (size_t i = 0; i < sizeof(all_ways) / sizeof(*all_ways); i++)
		for (const struct way *w = all_ways[i]; w->name; w++)
			if (!strcmp(w->name, name))
				return w;
	fprintf(stderr, "attacker: no way is called %s\n", name);
	exit(2);
}

static void print_outcome(const char *name, int status, const char *said)
{
	const char *proof = strrchr(said, '\t'), *why = strchr(said, '\t');

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		printf("%s\tkilled\t\t%s\n", name, proof ? proof + 1 : "");
	else if (WIFSIGNALED(status))
		printf("%s\timpossible\tSIG%s\t\n", name, sigabbrev_np(WTERMSIG(status)));
	else if (!why)
		printf("%s\timpossible\tsaid nothing, exit %d\t\n", name, WEXITSTATUS(status));
	else
		printf("%s\t%s\n", name, said);
	fflush(stdout);
}

static void run(const struct way *way)
{
	char said[512] = "";
	size_t used = 0;
	int ends[2], status;
	ssize_t n;
	pid_t child;

	if (pipe(ends) || (child = fork()) < 0)
		exit(2);
	if (!child) {
		report = ends[1];
		current = way->name;
		close(ends[0]);
		alarm(PATIENCE_S);
		prctl(PR_SET_NAME, way->name);
		way->attempt();
		_exit(3);
	}
	close(ends[1]);
	while ((n = read(ends[0], said + used, sizeof(said) - 1 - used)) > 0)
		used += n;
	close(ends[0]);
	waitpid(child, &status, 0);
	print_outcome(way->name, status, said);
}

/* What a program that a way has started does: `attacker open FD PATH COMM`. */
static void started(char **words)
{
	report = atoi(words[1]);
	prctl(PR_SET_NAME, words[3]);
	show_path(words[2]);
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";

	if (!strcmp(word, "serve"))
		serve();
	else if (!strcmp(word, "steal"))
		steal(argv[0]);
	else if (argc == 3 && !strcmp(word, "decoys"))
		make_decoys(argv[2]);
	else if (argc == 3 && !strcmp(word, "identify"))
		identify(argv[2]);
	else if (argc == 5 && !strcmp(word, "open"))
		started(argv + 1);
	else if (!strcmp(word, "wait"))
		pause();
	else if (!strcmp(word, "run"))
		for (int i = 2; i < argc; i++)
			run(find(argv[i]));
	else
		return 2;
	return 0;
}
