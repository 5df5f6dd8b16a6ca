/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PROCESS_H
#define ENGINE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * What /proc says of processes, for the daemon and for the holder. A process id is only as good as
 * the moment: each function says what it does about ids that are used again, or the caller knows
 * that the process is there, because it waits for us or because nobody else may reap it.
 */

/* From /proc/PID/stat. Ticks are those of sysconf(_SC_CLK_TCK). */
struct process_stat {
	char state; /* 'Z': ended, and nobody waited for it */
	pid_t parent;
	uint64_t cpu_ticks;    /* user and system, all threads, ended ones too */
	uint64_t waited_ticks; /* of the children that it waited for, and theirs */
	uint64_t start_ticks;  /* since boot: with the pid it names the process */
};

/* Returns 0, -ESRCH (no such process, or a pid that is none), -EBADMSG, another -errno. */
int process_stat(pid_t pid, struct process_stat *ret_stat);

/*
 * Whether `pid` (a thread's id will do) descends from `ancestor`; not if it is the ancestor itself.
 * Follows at most 256 generations.
 */
bool process_descends(pid_t pid, pid_t ancestor);

/*
 * Lists the descendants of `ancestor`, zombies too, parents before their children. Processes that
 * begin or end meanwhile may be missed. Returns their number, at most `room`.
 */
size_t process_descendants(pid_t ancestor, pid_t *list, size_t room);

/*
 * Sends SIGKILL to every descendant of `ancestor`, once. A process that took over an id meanwhile
 * is safe. Returns how many that were not zombies it saw: the caller repeats until there are none,
 * for they may fork faster than one pass.
 */
size_t process_kill_descendants(pid_t ancestor);

#endif
