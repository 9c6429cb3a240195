/*
 * The attacker: one static program, one function for each way to data that is not its own.
 *
 * A way runs in a child of its own and ends by saying what became of it. Its name is the child's comm, so that an event
 * of the journal says which way it is of.
 */
#ifndef ATTACKER_H
#define ATTACKER_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Where tests/attacks/ground.py mounts what; the last two are below the host's directory of all volumes. */
#define SAFE "/safe"                            /* the protected volume, as a careless `-v` gives it */
#define FREE "/free"                            /* a volume that nobody protects */
#define OWN "/own"                              /* a protected volume that the attacker is granted */
#define MEETING "/meeting"                      /* a volume that the owner of the secret shares */
#define SAFE_BY_PARENT "/volumes/safe-data/_data"
#define FREE_BY_PARENT "/volumes/free-data/_data"
#define SECRET_MAX 64                           /* bytes of the secret, and of any proof */

struct way {
	const char *name;                       /* at most 15 bytes: it becomes the comm */
	void (*attempt)(void);
};

/* The ends of a way: none returns. */
void reached(const void *proof, size_t n) __attribute__((noreturn));    /* these bytes are the proof */
void refused(int error) __attribute__((noreturn));                      /* the access itself failed */
void impossible(const char *step) __attribute__((noreturn));            /* errno; a step before the access failed */
void show(int fd) __attribute__((noreturn));                            /* reached, with what is read from fd */
void show_path(const char *path) __attribute__((noreturn));             /* open, show */
void done(long result) __attribute__((noreturn));                       /* a change: reached if 0, else refused */

void tell(const void *proof, size_t n);         /* reached, for who has not ended yet */

/* The steps of a way: `need` for what touches no protected data, `attempt` for what does. */
long need(long result, const char *step);
long attempt(long result);

const char *given(const char *name);                                    /* a parameter from the environment */
long number(const char *name);                                          /* the same as a number, base 0 */
char *path(const char *format, ...) __attribute__((format(printf, 1, 2)));
void as_child(pid_t child) __attribute__((noreturn));                   /* end as this child ends: it does the talking */
void write_text(const char *file, const char *text, const char *step);
const char *victim(const char *name);                                   /* below this way's own part of SAFE */
void private_mounts(void);                                              /* a mount namespace of its own */
int meet(void);                                                         /* a connection to the owner */

extern int report;                              /* what a started program is told to write to */
extern char held[SECRET_MAX];                   /* the secret in the owner's memory: the same address in every process */
void serve(void);                               /* the owner's part */
void steal(const char *self) __attribute__((noreturn)); /* what the kernel starts for the attacker */
void make_decoys(const char *directory);        /* BPF objects that nobody guards */
void identify(const char *directory);           /* ids of the BPF objects pinned below a directory */

extern const struct way open_ways[], race_ways[], mount_ways[], cgroup_ways[], process_ways[], exec_ways[],
	change_ways[], agent_ways[];

#endif
