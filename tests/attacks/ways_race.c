/* Opens that are in a hurry, or that somebody else does: io_uring, threads, a path that changes under the walk. */
#include <linux/io_uring.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

#include "attacker.h"

#define SECRET SAFE "/secret"
#define ATOMIC(p) ((_Atomic unsigned *)(p))

struct ring {
	int fd;
	struct io_uring_params params;
	char *sq, *cq;
	struct io_uring_sqe *entries;
};

static void *map_ring(const struct ring *r, size_t size, off_t what)
{
	void *at = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, what);

	need(at == MAP_FAILED ? -1 : 0, "mmap of the ring");
	return at;
}

static void set_up(struct ring *r, unsigned flags)
{
	struct io_uring_params *p = &r->params;

	p->flags = flags;
	r->fd = need(syscall(SYS_io_uring_setup, 4, p), "io_uring_setup");
	r->sq = map_ring(r, p->sq_off.array + p->sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
	r->cq = map_ring(r, p->cq_off.cqes + p->cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	r->entries = map_ring(r, p->sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

/* Submit the one entry and wait for its result. */
static int submit(struct ring *r)
{
	unsigned *array = (unsigned *)(r->sq + r->params.sq_off.array);
	struct io_uring_cqe *results = (struct io_uring_cqe *)(r->cq + r->params.cq_off.cqes);
	unsigned flags = IORING_ENTER_GETEVENTS | (r->params.flags & IORING_SETUP_SQPOLL ? IORING_ENTER_SQ_WAKEUP : 0);

	array[0] = 0;
	__atomic_store_n((unsigned *)(r->sq + r->params.sq_off.tail), 1, __ATOMIC_RELEASE);
	while (!__atomic_load_n((unsigned *)(r->cq + r->params.cq_off.tail), __ATOMIC_ACQUIRE))
		need(syscall(SYS_io_uring_enter, r->fd, 1, 1, flags, 0, 0), "io_uring_enter");
	return results[0].res;
}

static void by_ring(unsigned set_up_flags, unsigned char entry_flags)
{
	struct ring r = {};
	int fd;

	set_up(&r, set_up_flags);
	r.entries[0] = (struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (unsigned long)SECRET,
					     .open_flags = O_RDONLY, .flags = entry_flags};
	fd = submit(&r);
	errno = fd < 0 ? -fd : 0;
	show(attempt(fd < 0 ? -1 : fd));
}

static void way_io_uring(void) { by_ring(0, 0); }
static void way_io_uring_async(void) { by_ring(0, IOSQE_ASYNC); }
static void way_io_uring_sqpoll(void) { by_ring(IORING_SETUP_SQPOLL, 0); }

/* A second thread reads the descriptor that the first one is about to be given, into memory that outlives them both. */
static volatile int expected;
static volatile char *loot;

static void *read_early(void *unused)
{
	(void)unused;
	*loot = '!';                            /* it runs */
	while (pread(expected, (char *)loot, SECRET_MAX, 0) <= 0)
		;
	return 0;
}

static void open_with_a_reader(void)
{
	pthread_t reader;
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	expected = need(dup(0), "dup");
	close(expected);
	need(pthread_create(&reader, 0, read_early, 0) ? -1 : 0, "thread");
	while (!*loot)
		;
	fd = attempt(open(SECRET, O_RDONLY));
	pthread_join(reader, 0);
	show(fd);
}

static void way_thread(void)
{
	loot = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int round = 0; round < number("TRIES"); round++) {
		pid_t child;
		int status;

		memset((char *)loot, 0, SECRET_MAX);
		child = need(fork(), "fork");
		if (!child)
			open_with_a_reader();
		need(waitpid(child, &status, 0), "waitpid");
		if (WIFEXITED(status))
			_exit(0);               /* it has said what became of it */
		if (loot[1]) {
			tell((char *)loot, SECRET_MAX);
			break;
		}
	}
	kill(getpid(), SIGKILL);                /* as each of them ended */
}

/* Two names change places, over and over; whoever opens one of them is led to the secret now and then. */
static void swap_for_ever(const char *a, const char *b)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(report);
	for (;;)
		renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

static void race(const char *a, const char *b, const char *file)
{
	pid_t swapper = need(fork(), "fork");
	time_t patience = time(0) + 60;         /* on a busy machine the swapper may be late */
	int hits = 0;
	char bytes[SECRET_MAX];

	if (!swapper)
		swap_for_ever(a, b);
	for (int round = 0, wanted = number("ROUNDS"); round < wanted || (!hits && time(0) < patience); round++) {
		int fd = open(file, O_RDONLY);
		ssize_t n = fd < 0 ? 0 : read(fd, bytes, sizeof(bytes));

		hits += fd < 0 && errno == EPERM;
		close(fd);
		if (n >= 4 && memcmp(bytes, "bait", 4)) {
			kill(swapper, SIGKILL);
			reached(bytes, n);
		}
	}
	kill(swapper, SIGKILL);
	if (hits)
		refused(EPERM);
	errno = 0;
	impossible("no round was lucky");
}

/* A file and a symbolic link to the secret; ground.py has laid both. */
static void way_symlink_race(void)
{
	race(FREE "/race/a", FREE "/race/b", FREE "/race/a");
}

/* A directory with a file named as the secret is, and a symbolic link to the protected directory. */
static void way_rename_race(void)
{
	race(FREE "/race/c", FREE "/race/d", FREE "/race/c/secret");
}

const struct way race_ways[] = {
	{"io_uring", way_io_uring},
	{"io_uring-async", way_io_uring_async},
	{"io_uring-sqpoll", way_io_uring_sqpoll},
	{"thread", way_thread},
	{"symlink-race", way_symlink_race},
	{"rename-race", way_rename_race},
	{},
};
